#include <stdio.h>
#include <string.h>
#include "cri.pb-c.h"
#include "grpcstatus.h"
#include "probesteps.h"

#define RUNTIME "runtime.v1.RuntimeService/"
#define IMAGES  "runtime.v1.ImageService/"

#define LABEL_ID       "io.podspan.probe"
#define CONTAINER_NAME "probe"
#define STOP_GRACE_S   2

static void free_message(ProtobufCMessage **message) {
        if (*message)
                protobuf_c_message_free_unpacked(*message, NULL);
}
#define _cleanup_message_ _cleanup_(free_message)

int probesteps_version(Probe *probe) {
        Podspan__Cri__VersionRequest request = PODSPAN__CRI__VERSION_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;
        const Podspan__Cri__VersionResponse *response;
        int r;

        r = probe_call(probe, RUNTIME "Version", probe_time_left(probe), &request,
                       &podspan__cri__version_response__descriptor, &message);
        if (r < 0)
                return r;
        response = (const Podspan__Cri__VersionResponse *) message;
        util_copy_bounded(probe->runtime_name, sizeof(probe->runtime_name), response->runtime_name,
                          strlen(response->runtime_name));
        util_copy_bounded(probe->runtime_version, sizeof(probe->runtime_version), response->runtime_version,
                          strlen(response->runtime_version));
        return 0;
}

/* CgroupDriver of CRI v1. */
#define DRIVER_SYSTEMD 0

void probesteps_cgroup_driver(Probe *probe) {
        Podspan__Cri__RuntimeConfigRequest request = PODSPAN__CRI__RUNTIME_CONFIG_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;
        const Podspan__Cri__RuntimeConfigResponse *response;

        if (probe_call_optional(probe, RUNTIME "RuntimeConfig", probe_time_left(probe), &request,
                                &podspan__cri__runtime_config_response__descriptor, &message) < 0)
                return;
        response = (const Podspan__Cri__RuntimeConfigResponse *) message;
        if (response->linux_config && response->linux_config->cgroup_driver == DRIVER_SYSTEMD)
                probe->cgroup = PROBE_CGROUP_SLICE;
}

/* The sandbox's configuration and all it points to; lives on the caller's stack. */
typedef struct SandboxConfig {
        Podspan__Cri__PodSandboxConfig config;
        Podspan__Cri__PodSandboxMetadata metadata;
        Podspan__Cri__LinuxPodSandboxConfig linux_config;
        Podspan__Cri__LinuxSandboxSecurityContext security;
        Podspan__Cri__NamespaceOption namespaces;
        Podspan__Cri__StringPair labels[5];
        Podspan__Cri__StringPair *label_pointers[5];
} SandboxConfig;

#define NAMESPACE_NODE 2

static void fill_sandbox_config(Probe *probe, SandboxConfig *s) {
        /* What kubelet sets: runtimes and observers find the pod's identity there. */
        const struct {
                const char *key;
                char *value;
        } labels[] = {
                { LABEL_ID, probe->identity.pod_uid },
                { "io.kubernetes.pod.name", probe->identity.pod_name },
                { "io.kubernetes.pod.namespace", probe->identity.pod_namespace },
                { "io.kubernetes.pod.uid", probe->identity.pod_uid },
                { "io.kubernetes.container.name", (char *) CONTAINER_NAME }, /* the container's only */
        };

        podspan__cri__pod_sandbox_config__init(&s->config);
        podspan__cri__pod_sandbox_metadata__init(&s->metadata);
        podspan__cri__linux_pod_sandbox_config__init(&s->linux_config);
        podspan__cri__linux_sandbox_security_context__init(&s->security);
        podspan__cri__namespace_option__init(&s->namespaces);
        for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
                podspan__cri__string_pair__init(&s->labels[i]);
                s->labels[i].key = (char *) labels[i].key;
                s->labels[i].value = labels[i].value;
                s->label_pointers[i] = &s->labels[i];
        }

        s->metadata.name = probe->identity.pod_name;
        s->metadata.uid = probe->identity.pod_uid;
        s->metadata.namespace_ = probe->identity.pod_namespace;
        s->metadata.attempt = probe->attempt;
        s->namespaces.network = probe->options->host_network ? NAMESPACE_NODE : 0;
        s->security.namespace_options = &s->namespaces;
        s->linux_config.security_context = &s->security;
        if (probe->cgroup == PROBE_CGROUP_SLICE)
                s->linux_config.cgroup_parent = (char *) PROBE_SLICE;
        s->config.metadata = &s->metadata;
        /* A pod in the node's network has the node's name. */
        s->config.hostname = probe->options->host_network ? (char *) "" : probe->identity.pod_name;
        s->config.log_directory = probe->log_dir;
        s->config.labels = s->label_pointers;
        s->config.n_labels = ARRAY_SIZE(labels) - 1;
        s->config.linux_config = &s->linux_config;
}

/* Did the last call end on our side, so that the runtime may still be at it? */
static bool given_up(const Probe *probe) {
        int code = probe->n_calls > 0 ? probe->calls[probe->n_calls - 1].status.code : 0;

        return code == GRPC_CANCELLED || code == GRPC_DEADLINE_EXCEEDED || code == GRPC_UNAVAILABLE;
}

static int run_sandbox(Probe *probe) {
        Podspan__Cri__RunPodSandboxRequest request = PODSPAN__CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;
        SandboxConfig sandbox;
        const char *id;
        int r;

        fill_sandbox_config(probe, &sandbox);
        request.config = &sandbox.config;
        request.runtime_handler = (char *) probe->options->runtime_handler;

        r = probe_call_creating(probe, RUNTIME "RunPodSandbox", probe_time_left(probe), &request,
                                &podspan__cri__run_pod_sandbox_response__descriptor, &message);
        probe->asked = r != -EINTR;
        probe->unanswered = r == -EREMOTEIO && given_up(probe);
        if (r < 0)
                return r;
        id = ((const Podspan__Cri__RunPodSandboxResponse *) message)->pod_sandbox_id;
        util_copy_bounded(probe->identity.sandbox_id, sizeof(probe->identity.sandbox_id), id, strlen(id));
        return 0;
}

bool probesteps_is_cgroup_error(const char *message) {
        return strcasestr(message, "cgroup") && strcasestr(message, "slice");
}

static int clean_by_label(Probe *probe);

int probesteps_run_sandbox(Probe *probe) {
        int r;

        r = run_sandbox(probe);
        if (r != -EREMOTEIO || probe->unanswered || !probesteps_is_cgroup_error(probe->error))
                return r;

        /* The other driver's form, as another attempt: the name of the first one may still be taken. */
        (void) clean_by_label(probe);
        *probe->error = '\0';
        probe->cgroup = probe->cgroup == PROBE_CGROUP_SLICE ? PROBE_CGROUP_DEFAULT : PROBE_CGROUP_SLICE;
        probe->attempt++;
        return run_sandbox(probe);
}

int probesteps_image(Probe *probe) {
        Podspan__Cri__ImageStatusRequest request = PODSPAN__CRI__IMAGE_STATUS_REQUEST__INIT;
        Podspan__Cri__PullImageRequest pull = PODSPAN__CRI__PULL_IMAGE_REQUEST__INIT;
        Podspan__Cri__ImageSpec image = PODSPAN__CRI__IMAGE_SPEC__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL, *pulled = NULL;
        SandboxConfig sandbox;
        int r;

        image.image = (char *) probe->options->image;
        request.image = &image;
        r = probe_call(probe, IMAGES "ImageStatus", probe_time_left(probe), &request,
                       &podspan__cri__image_status_response__descriptor, &message);
        if (r < 0)
                return r;
        if (((const Podspan__Cri__ImageStatusResponse *) message)->image)
                return 0;
        if (!probe->options->pull) {
                (void) snprintf(probe->error, sizeof(probe->error),
                                "image %.400s is not on this node; --pull fetches it", probe->options->image);
                return -EREMOTEIO;
        }

        fill_sandbox_config(probe, &sandbox);
        pull.image = &image;
        pull.sandbox_config = &sandbox.config;
        return probe_call(probe, IMAGES "PullImage", probe_time_left(probe), &pull,
                          &podspan__cri__pull_image_response__descriptor, &pulled);
}

int probesteps_create_container(Probe *probe) {
        Podspan__Cri__CreateContainerRequest request = PODSPAN__CRI__CREATE_CONTAINER_REQUEST__INIT;
        Podspan__Cri__ContainerConfig config = PODSPAN__CRI__CONTAINER_CONFIG__INIT;
        Podspan__Cri__ContainerMetadata metadata = PODSPAN__CRI__CONTAINER_METADATA__INIT;
        Podspan__Cri__ImageSpec image = PODSPAN__CRI__IMAGE_SPEC__INIT;
        Podspan__Cri__LinuxContainerConfig linux_config = PODSPAN__CRI__LINUX_CONTAINER_CONFIG__INIT;
        Podspan__Cri__LinuxContainerSecurityContext security = PODSPAN__CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        Podspan__Cri__LinuxContainerResources resources = PODSPAN__CRI__LINUX_CONTAINER_RESOURCES__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;
        SandboxConfig sandbox;
        const char *id;
        int r;

        fill_sandbox_config(probe, &sandbox);
        metadata.name = (char *) CONTAINER_NAME;
        image.image = (char *) probe->options->image;
        /* CRI-O looks up its signature policy by what the user wrote. */
        image.user_specified_image = (char *) probe->options->image;
        security.namespace_options = &sandbox.namespaces;
        linux_config.resources = &resources;
        linux_config.security_context = &security;
        config.metadata = &metadata;
        config.image = &image;
        config.command = probe->options->command;
        while (probe->options->command && probe->options->command[config.n_command])
                config.n_command++;
        config.labels = sandbox.label_pointers;
        config.n_labels = ARRAY_SIZE(sandbox.label_pointers);
        config.log_path = (char *) CONTAINER_NAME ".log";
        config.linux_config = &linux_config;
        request.pod_sandbox_id = probe->identity.sandbox_id;
        request.config = &config;
        request.sandbox_config = &sandbox.config;

        (void) snprintf(probe->identity.container_name, sizeof(probe->identity.container_name), "%s", CONTAINER_NAME);
        util_copy_bounded(probe->identity.image, sizeof(probe->identity.image), probe->options->image,
                          strlen(probe->options->image));
        r = probe_call_creating(probe, RUNTIME "CreateContainer", probe_time_left(probe), &request,
                                &podspan__cri__create_container_response__descriptor, &message);
        if (r < 0)
                return r;
        id = ((const Podspan__Cri__CreateContainerResponse *) message)->container_id;
        util_copy_bounded(probe->identity.container_id, sizeof(probe->identity.container_id), id, strlen(id));
        probe->container_made = true;
        return 0;
}

/* The calls that name one id and answer with nothing of interest. */
static int call_container(Probe *probe, const char *method, uint64_t timeout_ns) {
        Podspan__Cri__ContainerIdRequest request = PODSPAN__CRI__CONTAINER_ID_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;

        request.container_id = probe->identity.container_id;
        return probe_call(probe, method, timeout_ns, &request, &podspan__cri__empty__descriptor, &message);
}

int probesteps_start_container(Probe *probe) {
        return call_container(probe, RUNTIME "StartContainer", probe_time_left(probe));
}

static int stop_container(Probe *probe) {
        Podspan__Cri__StopContainerRequest request = PODSPAN__CRI__STOP_CONTAINER_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;

        request.container_id = probe->identity.container_id;
        request.timeout = STOP_GRACE_S;
        return probe_call(probe, RUNTIME "StopContainer", PROBE_CLEANUP_TIMEOUT_NS, &request,
                          &podspan__cri__empty__descriptor, &message);
}

static int call_sandbox(Probe *probe, const char *method, const char *id) {
        Podspan__Cri__PodSandboxIdRequest request = PODSPAN__CRI__POD_SANDBOX_ID_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;

        request.pod_sandbox_id = (char *) id;
        return probe_call(probe, method, PROBE_CLEANUP_TIMEOUT_NS, &request, &podspan__cri__empty__descriptor,
                          &message);
}

static int clean_sandbox(Probe *probe, const char *id) {
        int stopped = call_sandbox(probe, RUNTIME "StopPodSandbox", id);
        int removed = call_sandbox(probe, RUNTIME "RemovePodSandbox", id);

        /* Removing takes away containers as well, whatever became of the calls before. */
        if (removed < 0)
                util_copy_bounded(probe->left_id, sizeof(probe->left_id), id, strlen(id));
        else if (strcmp(probe->left_id, id) == 0)
                *probe->left_id = '\0';
        return stopped < 0 ? stopped : removed;
}

/* Takes away the sandboxes with our label. Returns how many there were, or the first error. */
static int clean_by_label(Probe *probe) {
        Podspan__Cri__ListPodSandboxRequest request = PODSPAN__CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        Podspan__Cri__PodSandboxFilter filter = PODSPAN__CRI__POD_SANDBOX_FILTER__INIT;
        Podspan__Cri__StringPair label = PODSPAN__CRI__STRING_PAIR__INIT, *labels[] = { &label };
        _cleanup_message_ ProtobufCMessage *message = NULL;
        const Podspan__Cri__ListPodSandboxResponse *response;
        int r, n = 0;

        label.key = (char *) LABEL_ID;
        label.value = probe->identity.pod_uid;
        filter.label_selector = labels;
        filter.n_label_selector = ARRAY_SIZE(labels);
        request.filter = &filter;
        r = probe_call(probe, RUNTIME "ListPodSandbox", PROBE_CLEANUP_TIMEOUT_NS, &request,
                       &podspan__cri__list_pod_sandbox_response__descriptor, &message);
        if (r < 0)
                return r;

        response = (const Podspan__Cri__ListPodSandboxResponse *) message;
        for (size_t i = 0; i < response->n_items; i++) {
                const Podspan__Cri__PodSandbox *item = response->items[i];
                int error;

                /* A runtime that does not know the filter lists everybody's: only what carries our UID is ours. */
                if (!item->metadata || strcmp(item->metadata->uid, probe->identity.pod_uid) != 0)
                        continue;
                error = clean_sandbox(probe, item->id);
                r = r < 0 ? r : error;
                n++;
        }
        return r < 0 ? r : n;
}

/*
 * RunPodSandbox was sent, but its answer did not come. containerd then undoes it; CRI-O goes on and shows the sandbox
 * when it is ready, for a retry of the call. CRI tells nobody when, so it has to be asked now and then.
 */
static int clean_unknown_sandbox(Probe *probe) {
        uint64_t end_ns = clk_monotonic() + PROBE_SETTLE_NS;
        int r;

        (void) probe_wait_for_signal(probe, 0);
        do
                r = clean_by_label(probe);
        while (r == 0 && clk_monotonic() < end_ns && !probe_wait_for_signal(probe, 500 * NSEC_PER_MSEC));
        return MIN(r, 0);
}

int probesteps_clean_up(Probe *probe) {
        int r = 0, error;

        if (probe->container_made) {
                r = stop_container(probe);
                error = call_container(probe, RUNTIME "RemoveContainer", PROBE_CLEANUP_TIMEOUT_NS);
                r = r < 0 ? r : error;
        }
        error = *probe->identity.sandbox_id ? clean_sandbox(probe, probe->identity.sandbox_id) : 0;
        r = r < 0 ? r : error;
        if (probe->unanswered)
                error = clean_unknown_sandbox(probe);
        else if (probe->asked && (!*probe->identity.sandbox_id || probe->attempt > 0))
                error = MIN(clean_by_label(probe), 0);
        return r < 0 ? r : error;
}
