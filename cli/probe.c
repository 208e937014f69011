#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include "cri.pb-c.h"
#include "probe.h"
#include "text.h"

#define RUNTIME "runtime.v1.RuntimeService/"
#define IMAGES  "runtime.v1.ImageService/"

#define LABEL_ID       "io.podspan.probe"
#define CONTAINER_NAME "probe"
#define STOP_GRACE_S   2

/* gRPC status codes; the client module keeps gRPC's own headers to itself. */
enum {
        CODE_CANCELLED = 1,
        CODE_DEADLINE_EXCEEDED = 4,
        CODE_UNAVAILABLE = 14,
};

#define LOG_DIR_FILES_MAX 64

int probe_init(Probe *probe, const ProbeOptions *options, const Config *config, int state_fd) {
        uint8_t random[16];
        sigset_t signals;
        char *uid = probe->identity.pod_uid;
        int r;

        *probe = (Probe){
                .options = options,
                .config = config,
                .spool = SPOOL_NULL,
                .signal_fd = -EBADF,
                .stop_fd = -EBADF,
                .interrupt_fd = -EBADF,
                .mutex = PTHREAD_MUTEX_INITIALIZER,
        };

        r = tracecontext_new_root(&probe->root);
        if (r < 0)
                return r;
        probe->root.flags |= TRACECONTEXT_SAMPLED;

        r = util_random(random, sizeof(random));
        if (r < 0)
                return r;
        (void) snprintf(probe->identity.pod_name, sizeof(probe->identity.pod_name), "podspan-probe-%02x%02x%02x%02x",
                        random[0], random[1], random[2], random[3]);
        (void) snprintf(probe->identity.pod_namespace, sizeof(probe->identity.pod_namespace), "%s", PROBE_NAMESPACE);
        /* RFC 9562, version 4. */
        random[6] = (uint8_t) ((random[6] & 0x0f) | 0x40);
        random[8] = (uint8_t) ((random[8] & 0x3f) | 0x80);
        for (size_t i = 0; i < sizeof(random); i++)
                uid += sprintf(uid, "%02x%s", random[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
        util_copy_bounded(probe->identity.runtime_handler, sizeof(probe->identity.runtime_handler),
                          options->runtime_handler, strlen(options->runtime_handler));

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGHUP);
        probe->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (probe->signal_fd < 0)
                return -errno;
        probe->stop_fd = eventfd(0, EFD_CLOEXEC);
        if (probe->stop_fd < 0)
                return -errno;
        probe->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (probe->interrupt_fd < 0)
                return -errno;

        if (state_fd >= 0) {
                probe->counters = counters_open(state_fd, true);
                (void) spool_init(&probe->spool, state_fd, COUNTERS_PROBE, probe->counters);
        }
        return criclient_new(options->endpoint, &probe->client);
}

void probe_deinit(Probe *probe) {
        probe->client = criclient_free(probe->client);
        spool_deinit(&probe->spool);
        probe->counters = counters_free(probe->counters);
        probe->signal_fd = close_fd(probe->signal_fd);
        probe->stop_fd = close_fd(probe->stop_fd);
        probe->interrupt_fd = close_fd(probe->interrupt_fd);
}

static bool interrupted(Probe *probe) {
        return __atomic_load_n(&probe->interrupted, __ATOMIC_ACQUIRE);
}

static void on_signal(Probe *probe) {
        bool again = __atomic_exchange_n(&probe->interrupted, true, __ATOMIC_ACQ_REL);
        const uint64_t one = 1;

        (void) util_write_all(probe->interrupt_fd, &one, sizeof(one));
        (void) pthread_mutex_lock(&probe->mutex);
        if (again || !probe->shielded)
                criclient_cancel(probe->client);
        else
                fputs("podspan: interrupted; taking the pod away first\n", stderr);
        (void) pthread_mutex_unlock(&probe->mutex);
}

static void shield(Probe *probe, bool on) {
        (void) pthread_mutex_lock(&probe->mutex);
        probe->shielded = on;
        (void) pthread_mutex_unlock(&probe->mutex);
}

/* A thread, because gRPC waits where no signal descriptor can be waited for as well. */
static void *watch_signals(void *userdata) {
        Probe *probe = userdata;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = probe->signal_fd, .events = POLLIN },
                        { .fd = probe->stop_fd, .events = POLLIN },
                };
                struct signalfd_siginfo info;

                if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents != 0)
                        return NULL;
                while (read(probe->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
                        on_signal(probe);
        }
}

/* Waits for a signal, at most @ns. Returns whether one came since the last time. */
static bool wait_for_signal(const Probe *probe, uint64_t ns) {
        struct pollfd fd = { .fd = probe->interrupt_fd, .events = POLLIN };
        uint64_t n;

        return poll(&fd, 1, (int) (ns / NSEC_PER_MSEC)) > 0 &&
               read(probe->interrupt_fd, &n, sizeof(n)) == (ssize_t) sizeof(n);
}

static const char *service_name(const Probe *probe) {
        return *probe->config->service_name ? probe->config->service_name : PROBE_SERVICE;
}

/* The attributes of RPC client spans, in the dialect that is configured. */
static void add_rpc_attributes(const Probe *probe, Span *span, const char *method, const CriStatus *status) {
        const char *slash = strchr(method, '/');

        span_attr_str(span, "server.address", probe->options->endpoint);
        if (probe->config->semconv != CONFIG_SEMCONV_OLD) {
                span_attr_str(span, "rpc.system.name", "grpc");
                span_attr_str(span, "rpc.method", method);
                span_attr_str(span, "rpc.response.status_code", criclient_code_name(status->code));
        }
        if (probe->config->semconv != CONFIG_SEMCONV_NEW) {
                span_attr_str(span, "rpc.system", "grpc");
                span_attr_strn(span, "rpc.service", method, (size_t) (slash - method));
                if (probe->config->semconv == CONFIG_SEMCONV_OLD)
                        span_attr_str(span, "rpc.method", slash + 1);
                span_attr_int(span, "rpc.grpc.status_code", status->code);
        }
        if (status->code != 0)
                span_attr_str(span, "error.type", criclient_code_name(status->code));
}

static void write_call_span(Probe *probe, const TraceContext *context, const ProbeCall *call) {
        _cleanup_(span_freep) Span *span = NULL;

        if (span_new(call->method, SPAN_KIND_CLIENT, context, &probe->root, &span) < 0)
                return;
        span_set_time(span, call->start_ns, call->start_ns + call->duration_ns);
        span_set_identity(span, &probe->identity);
        add_rpc_attributes(probe, span, call->method, &call->status);
        if (call->status.code != 0)
                span_set_status(span, SPAN_STATUS_ERROR,
                                probe->config->record_error_message ? call->status.message : NULL);
        (void) spool_write(&probe->spool, service_name(probe), &span, 1);
}

static void write_root_span(Probe *probe) {
        _cleanup_(span_freep) Span *span = NULL;

        if (span_new("podspan probe", SPAN_KIND_INTERNAL, &probe->root, NULL, &span) < 0)
                return;
        span_set_time(span, probe->begin.realtime_ns, clk_end(&probe->begin, clk_monotonic()));
        span_set_identity(span, &probe->identity);
        if (*probe->error)
                span_set_status(span, SPAN_STATUS_ERROR, probe->error);
        (void) spool_write(&probe->spool, service_name(probe), &span, 1);
}

static void show_progress(const Probe *probe, const ProbeCall *call) {
        char duration[TEXT_DURATION_MAX];

        if (!probe->options->progress)
                return;
        text_duration(call->duration_ns, duration);
        fprintf(stderr, "%8s  %s%s%s\n", duration, text_span_name(call->method), call->status.code != 0 ? ": " : "",
                call->status.code != 0 ? criclient_code_name(call->status.code) : "");
}

/* One call with a span of its own. Returns 0 with the answer, or -EREMOTEIO with the first such reason in probe->error.
 */
static int call(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                const ProtobufCMessageDescriptor *response_type, void *ret) {
        ProbeCall record = { .method = method };
        ProtobufCMessage *message = NULL;
        TraceContext context;
        Clk start;
        int r;

        r = tracecontext_new_child(&probe->root, &context);
        if (r < 0)
                return r;

        start = clk_now();
        r = criclient_call(probe->client, method, &context, timeout_ns, request, response_type, &message,
                           &record.status);
        record.start_ns = start.realtime_ns;
        record.duration_ns = clk_monotonic() - start.monotonic_ns;
        if (probe->n_calls < PROBE_CALLS_MAX)
                probe->calls[probe->n_calls++] = record;
        write_call_span(probe, &context, &record);
        show_progress(probe, &record);

        if (r < 0) {
                if (!*probe->error)
                        (void) snprintf(probe->error, sizeof(probe->error), "%s: %s: %s", text_span_name(method),
                                        criclient_code_name(record.status.code), record.status.message);
                return r;
        }
        *(ProtobufCMessage **) ret = message;
        return 0;
}

/* The same for a call that makes something. -EINTR instead of beginning after a signal. */
static int call_creating(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                         const ProtobufCMessageDescriptor *response_type, void *ret) {
        int r;

        shield(probe, true);
        r = interrupted(probe) ? -EINTR : call(probe, method, timeout_ns, request, response_type, ret);
        shield(probe, false);
        return r;
}

/* What is left for the calls before the cleaning up. */
static uint64_t time_left(const Probe *probe) {
        uint64_t now = clk_monotonic(), end = probe->begin.monotonic_ns + probe->options->timeout_ns;

        /* gRPC fails a call without time at once, with DEADLINE_EXCEEDED: the right error. */
        return end > now ? end - now : 1;
}

static void free_message(ProtobufCMessage **message) {
        if (*message)
                protobuf_c_message_free_unpacked(*message, NULL);
}
#define _cleanup_message_ _cleanup_(free_message)

static int get_version(Probe *probe) {
        Podspan__Cri__VersionRequest request = PODSPAN__CRI__VERSION_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;
        const Podspan__Cri__VersionResponse *response;
        int r;

        r = call(probe, RUNTIME "Version", time_left(probe), &request, &podspan__cri__version_response__descriptor,
                 &message);
        if (r < 0)
                return r;
        response = (const Podspan__Cri__VersionResponse *) message;
        util_copy_bounded(probe->runtime_name, sizeof(probe->runtime_name), response->runtime_name,
                          strlen(response->runtime_name));
        util_copy_bounded(probe->runtime_version, sizeof(probe->runtime_version), response->runtime_version,
                          strlen(response->runtime_version));
        return 0;
}

/* The sandbox's configuration and all it points to; lives on the caller's stack. */
typedef struct SandboxConfig {
        Podspan__Cri__PodSandboxConfig config;
        Podspan__Cri__PodSandboxMetadata metadata;
        Podspan__Cri__LinuxPodSandboxConfig linux_config;
        Podspan__Cri__LinuxSandboxSecurityContext security;
        Podspan__Cri__NamespaceOption namespaces;
        Podspan__Cri__StringPair labels[4];
        Podspan__Cri__StringPair *label_pointers[4];
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
        s->namespaces.network = probe->options->host_network ? NAMESPACE_NODE : 0;
        s->security.namespace_options = &s->namespaces;
        s->linux_config.security_context = &s->security;
        s->config.metadata = &s->metadata;
        /* A pod in the node's network has the node's name. */
        s->config.hostname = probe->options->host_network ? (char *) "" : probe->identity.pod_name;
        s->config.log_directory = probe->log_dir;
        s->config.labels = s->label_pointers;
        s->config.n_labels = ARRAY_SIZE(labels);
        s->config.linux_config = &s->linux_config;
}

/* Did the last call end on our side, so that the runtime may still be at it? */
static bool given_up(const Probe *probe) {
        int code = probe->n_calls > 0 ? probe->calls[probe->n_calls - 1].status.code : 0;

        return code == CODE_CANCELLED || code == CODE_DEADLINE_EXCEEDED || code == CODE_UNAVAILABLE;
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

        r = call_creating(probe, RUNTIME "RunPodSandbox", time_left(probe), &request,
                          &podspan__cri__run_pod_sandbox_response__descriptor, &message);
        probe->unanswered = r == -EREMOTEIO && given_up(probe);
        if (r < 0)
                return r;
        id = ((const Podspan__Cri__RunPodSandboxResponse *) message)->pod_sandbox_id;
        util_copy_bounded(probe->identity.sandbox_id, sizeof(probe->identity.sandbox_id), id, strlen(id));
        return 0;
}

static int have_image(Probe *probe) {
        Podspan__Cri__ImageStatusRequest request = PODSPAN__CRI__IMAGE_STATUS_REQUEST__INIT;
        Podspan__Cri__PullImageRequest pull = PODSPAN__CRI__PULL_IMAGE_REQUEST__INIT;
        Podspan__Cri__ImageSpec image = PODSPAN__CRI__IMAGE_SPEC__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL, *pulled = NULL;
        SandboxConfig sandbox;
        int r;

        image.image = (char *) probe->options->image;
        request.image = &image;
        r = call(probe, IMAGES "ImageStatus", time_left(probe), &request,
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
        return call(probe, IMAGES "PullImage", time_left(probe), &pull, &podspan__cri__pull_image_response__descriptor,
                    &pulled);
}

static int create_container(Probe *probe) {
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
        config.n_labels = sandbox.config.n_labels;
        config.log_path = (char *) CONTAINER_NAME ".log";
        config.linux_config = &linux_config;
        request.pod_sandbox_id = probe->identity.sandbox_id;
        request.config = &config;
        request.sandbox_config = &sandbox.config;

        (void) snprintf(probe->identity.container_name, sizeof(probe->identity.container_name), "%s", CONTAINER_NAME);
        util_copy_bounded(probe->identity.image, sizeof(probe->identity.image), probe->options->image,
                          strlen(probe->options->image));
        r = call_creating(probe, RUNTIME "CreateContainer", time_left(probe), &request,
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
        return call(probe, method, timeout_ns, &request, &podspan__cri__empty__descriptor, &message);
}

static int stop_container(Probe *probe) {
        Podspan__Cri__StopContainerRequest request = PODSPAN__CRI__STOP_CONTAINER_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;

        request.container_id = probe->identity.container_id;
        request.timeout = STOP_GRACE_S;
        return call(probe, RUNTIME "StopContainer", PROBE_CLEANUP_TIMEOUT_NS, &request,
                    &podspan__cri__empty__descriptor, &message);
}

static int call_sandbox(Probe *probe, const char *method, const char *id) {
        Podspan__Cri__PodSandboxIdRequest request = PODSPAN__CRI__POD_SANDBOX_ID_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *message = NULL;

        request.pod_sandbox_id = (char *) id;
        return call(probe, method, PROBE_CLEANUP_TIMEOUT_NS, &request, &podspan__cri__empty__descriptor, &message);
}

static int clean_sandbox(Probe *probe, const char *id) {
        int stopped = call_sandbox(probe, RUNTIME "StopPodSandbox", id);
        int removed = call_sandbox(probe, RUNTIME "RemovePodSandbox", id);

        /* Removing takes away containers as well, whatever became of the calls before. */
        probe->left = removed < 0;
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
        r = call(probe, RUNTIME "ListPodSandbox", PROBE_CLEANUP_TIMEOUT_NS, &request,
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

        (void) wait_for_signal(probe, 0);
        do
                r = clean_by_label(probe);
        while (r == 0 && clk_monotonic() < end_ns && !wait_for_signal(probe, 500 * NSEC_PER_MSEC));
        return MIN(r, 0);
}

static int clean_up(Probe *probe) {
        int r = 0, error;

        (void) pthread_mutex_lock(&probe->mutex);
        probe->shielded = true;
        criclient_resume(probe->client);
        (void) pthread_mutex_unlock(&probe->mutex);

        if (probe->container_made) {
                r = stop_container(probe);
                error = call_container(probe, RUNTIME "RemoveContainer", PROBE_CLEANUP_TIMEOUT_NS);
                r = r < 0 ? r : error;
        }
        if (*probe->identity.sandbox_id)
                error = clean_sandbox(probe, probe->identity.sandbox_id);
        else
                error = probe->unanswered ? clean_unknown_sandbox(probe) : 0;
        return r < 0 ? r : error;
}

static int make_log_dir(Probe *probe) {
        const char *tmp = getenv("TMPDIR");
        int n = snprintf(probe->log_dir, sizeof(probe->log_dir), "%s/podspan-probe-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        int r = 0;

        if (n < 0 || (size_t) n >= sizeof(probe->log_dir))
                r = -ENAMETOOLONG;
        else if (!mkdtemp(probe->log_dir))
                r = -errno;
        if (r < 0)
                probe->log_dir[0] = '\0';
        return r;
}

/* Runtimes put the container's log there, and nothing that is a directory. */
static void remove_log_dir(Probe *probe) {
        DIR *dir = *probe->log_dir ? opendir(probe->log_dir) : NULL;
        struct dirent *entry;

        for (unsigned n = 0; dir && n < LOG_DIR_FILES_MAX && (entry = readdir(dir)); n++)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        (void) unlinkat(dirfd(dir), entry->d_name, 0);
        if (dir)
                (void) closedir(dir);
        if (*probe->log_dir)
                (void) rmdir(probe->log_dir);
}

static int run_pod(Probe *probe) {
        int r;

        r = get_version(probe);
        if (r < 0)
                return r;
        /* The image first: without it there is no need to make a sandbox. */
        if (probe->options->image && !probe->options->pull) {
                r = have_image(probe);
                if (r < 0)
                        return r;
        }
        r = run_sandbox(probe);
        if (r < 0 || !probe->options->image)
                return r;
        if (probe->options->pull) {
                r = have_image(probe);
                if (r < 0)
                        return r;
        }
        r = create_container(probe);
        if (r < 0)
                return r;
        if (interrupted(probe))
                return -EINTR;
        return call_container(probe, RUNTIME "StartContainer", time_left(probe));
}

int probe_run(Probe *probe) {
        const uint64_t one = 1;
        pthread_t thread;
        int r, error;

        r = make_log_dir(probe);
        if (r < 0) {
                (void) snprintf(probe->error, sizeof(probe->error), "temporary directory for logs: %s", strerror(-r));
                return -EREMOTEIO;
        }
        r = -pthread_create(&thread, NULL, watch_signals, probe);
        if (r < 0) {
                remove_log_dir(probe);
                return r;
        }

        probe->begin = clk_now();
        r = run_pod(probe);
        if (!probe->options->keep || interrupted(probe)) {
                error = clean_up(probe);
                r = r < 0 ? r : error;
                remove_log_dir(probe);
        }
        write_root_span(probe);

        (void) util_write_all(probe->stop_fd, &one, sizeof(one));
        (void) pthread_join(thread, NULL);
        return interrupted(probe) ? -EINTR : r;
}
