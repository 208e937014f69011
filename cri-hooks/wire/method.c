#include <string.h>
#include "method.h"
#include "util.h"

#define RUNTIME "runtime.v1.RuntimeService/"
#define IMAGE   "runtime.v1.ImageService/"
#define N(name) name, sizeof(name) - 1

/* The most frequent ones first: the table is searched in order. */
static const Method methods[] = {
        { N(RUNTIME "ListPodSandbox"), METHOD_POLL, METHOD_LIST_SANDBOXES, NULL, &cri_list_sandboxes_reply, false },
        { N(RUNTIME "ListContainers"), METHOD_POLL, METHOD_LIST_CONTAINERS, NULL, &cri_list_containers_reply, false },
        { N(RUNTIME "ContainerStatus"), METHOD_POLL, 0, &cri_container_id_request, NULL, true },
        { N(RUNTIME "PodSandboxStatus"), METHOD_POLL, 0, &cri_sandbox_id_request, NULL, true },
        { N(RUNTIME "ExecSync"), METHOD_PROBE, 0, &cri_exec_sync_request, &cri_exec_sync_reply, false },
        { N(RUNTIME "Status"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "Version"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "ListContainerStats"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "ListPodSandboxStats"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "ContainerStats"), METHOD_POLL, 0, &cri_container_id_request, NULL, true },
        { N(RUNTIME "PodSandboxStats"), METHOD_POLL, 0, &cri_sandbox_id_request, NULL, true },
        { N(RUNTIME "ListPodSandboxMetrics"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "ListMetricDescriptors"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "RuntimeConfig"), METHOD_POLL, 0, NULL, NULL, false },
        { N(RUNTIME "ReopenContainerLog"), METHOD_POLL, 0, &cri_container_id_request, NULL, false },
        { N(IMAGE "ImageStatus"), METHOD_POLL, 0, &cri_image_request, NULL, true },
        { N(IMAGE "ListImages"), METHOD_POLL, 0, NULL, NULL, false },
        { N(IMAGE "ImageFsInfo"), METHOD_POLL, 0, NULL, NULL, false },

        { N(RUNTIME "RunPodSandbox"), METHOD_MUTATING, METHOD_RUN_POD_SANDBOX, &cri_run_pod_sandbox_request,
          &cri_sandbox_id_reply, false },
        { N(RUNTIME "StopPodSandbox"), METHOD_MUTATING, 0, &cri_sandbox_id_request, NULL, false },
        { N(RUNTIME "RemovePodSandbox"), METHOD_MUTATING, METHOD_REMOVE_POD_SANDBOX, &cri_sandbox_id_request, NULL,
          false },
        { N(RUNTIME "CreateContainer"), METHOD_MUTATING, METHOD_CREATE_CONTAINER, &cri_create_container_request,
          &cri_container_id_reply, false },
        { N(RUNTIME "StartContainer"), METHOD_MUTATING, METHOD_START_CONTAINER, &cri_container_id_request, NULL,
          false },
        { N(RUNTIME "StopContainer"), METHOD_MUTATING, 0, &cri_stop_container_request, NULL, false },
        { N(RUNTIME "RemoveContainer"), METHOD_MUTATING, METHOD_REMOVE_CONTAINER, &cri_container_id_request, NULL,
          false },
        { N(RUNTIME "UpdateContainerResources"), METHOD_MUTATING, 0, &cri_container_id_request, NULL, false },
        { N(RUNTIME "CheckpointContainer"), METHOD_MUTATING, 0, &cri_exec_sync_request, NULL, false },
        { N(IMAGE "PullImage"), METHOD_MUTATING, METHOD_PULL_IMAGE, &cri_pull_image_request, &cri_pull_image_reply,
          false },
        { N(IMAGE "RemoveImage"), METHOD_MUTATING, 0, &cri_image_request, NULL, false },

        { N(RUNTIME "Exec"), METHOD_OTHER, 0, &cri_container_id_request, NULL, false },
        { N(RUNTIME "Attach"), METHOD_OTHER, 0, &cri_container_id_request, NULL, false },
        { N(RUNTIME "PortForward"), METHOD_OTHER, 0, &cri_sandbox_id_request, NULL, false },
        { N(RUNTIME "UpdateRuntimeConfig"), METHOD_OTHER, 0, NULL, NULL, false },
        { N(RUNTIME "UpdatePodSandboxResources"), METHOD_OTHER, 0, &cri_sandbox_id_request, NULL, false },

        { N(RUNTIME "GetContainerEvents"), METHOD_STREAM, 0, NULL, NULL, false },
        { N(RUNTIME "StreamPodSandboxes"), METHOD_STREAM, METHOD_LIST_SANDBOXES, NULL, &cri_list_sandboxes_reply,
          false },
        { N(RUNTIME "StreamContainers"), METHOD_STREAM, METHOD_LIST_CONTAINERS, NULL, &cri_list_containers_reply,
          false },
        { N(RUNTIME "StreamContainerStats"), METHOD_STREAM, 0, NULL, NULL, false },
        { N(RUNTIME "StreamPodSandboxStats"), METHOD_STREAM, 0, NULL, NULL, false },
        { N(RUNTIME "StreamPodSandboxMetrics"), METHOD_STREAM, 0, NULL, NULL, false },
        { N(IMAGE "StreamImages"), METHOD_STREAM, 0, NULL, NULL, false },

        /* The gRPC health service, which a client may ask as often as it likes. */
        { N("grpc.health.v1.Health/Check"), METHOD_POLL, 0, NULL, NULL, false },
        { N("grpc.health.v1.Health/Watch"), METHOD_STREAM, 0, NULL, NULL, false },
};

static const Method unknown_other = { NULL, 0, METHOD_OTHER, 0, NULL, NULL, false };
static const Method unknown_poll = { NULL, 0, METHOD_POLL, 0, NULL, NULL, true };
static const Method unknown_stream = { NULL, 0, METHOD_STREAM, 0, NULL, NULL, true };

static bool begins(const char *s, size_t len, const char *with) {
        size_t n = strlen(with);

        return len >= n && memcmp(s, with, n) == 0;
}

static bool ends(const char *s, size_t len, const char *with) {
        size_t n = strlen(with);

        return len >= n && memcmp(s + len - n, with, n) == 0;
}

static const Method *by_name(const char *name, size_t len) {
        static const char *const poll_ends[] = { "Status", "Stats", "Metrics", "Info", "Version" };

        if (begins(name, len, "Stream") || begins(name, len, "Watch"))
                return &unknown_stream;
        if (begins(name, len, "List") || begins(name, len, "Get"))
                return &unknown_poll;
        for (unsigned i = 0; i < ARRAY_SIZE(poll_ends); i++)
                if (ends(name, len, poll_ends[i]))
                        return &unknown_poll;
        return &unknown_other;
}

#define PACKAGE       "runtime.v1."
#define PACKAGE_ALPHA "runtime.v1alpha2."

static const Method *lookup(const char *name, size_t len) {
        /* v1alpha2, gone from kubelet since 1.26, has the same services and field numbers. */
        if (begins(name, len, PACKAGE_ALPHA)) {
                name += strlen(PACKAGE_ALPHA);
                len -= strlen(PACKAGE_ALPHA);
                for (unsigned i = 0; i < ARRAY_SIZE(methods); i++)
                        if (begins(methods[i].name, methods[i].len, PACKAGE) &&
                            methods[i].len == strlen(PACKAGE) + len &&
                            memcmp(methods[i].name + strlen(PACKAGE), name, len) == 0)
                                return &methods[i];
                return NULL;
        }

        for (unsigned i = 0; i < ARRAY_SIZE(methods); i++)
                if (methods[i].len == len && memcmp(methods[i].name, name, len) == 0)
                        return &methods[i];
        return NULL;
}

const Method *method_find(const char *path, size_t len) {
        const Method *method;
        const char *slash;

        if (len == 0 || path[0] != '/')
                return &unknown_other;
        path++;
        len--;

        method = lookup(path, len);
        if (method)
                return method;

        slash = memrchr(path, '/', len);
        if (!slash)
                return &unknown_other;
        return by_name(slash + 1, len - (size_t) (slash + 1 - path));
}

const char *method_short(const char *name) {
        const char *slash = strrchr(name, '/');

        return slash ? slash + 1 : name;
}

const Method *method_of_operation(const char *operation) {
        for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
                if (strcmp(method_short(methods[i].name), operation) == 0)
                        return &methods[i];
        return NULL;
}
