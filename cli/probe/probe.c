#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include "behind.h"
#include "grpcstatus.h"
#include "probe.h"
#include "probesteps.h"
#include "text.h"

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

bool probe_interrupted(Probe *probe) {
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

bool probe_wait_for_signal(const Probe *probe, uint64_t ns) {
        struct pollfd fd = { .fd = probe->interrupt_fd, .events = POLLIN };
        uint64_t n;

        return poll(&fd, 1, (int) (ns / NSEC_PER_MSEC)) > 0 &&
               read(probe->interrupt_fd, &n, sizeof(n)) == (ssize_t) sizeof(n);
}

static const char *service_name(const Probe *probe) {
        return *probe->config->service_name ? probe->config->service_name : PROBE_SERVICE;
}

/* The attributes of RPC client spans, in the dialect that is configured. */
static void add_rpc_attributes(const Probe *probe, Span *span, const ProbeCall *call) {
        const char *method = call->method, *slash = strchr(method, '/');
        const CriStatus *status = &call->status;

        span_attr_str(span, "server.address", probe->options->endpoint);
        if (probe->config->semconv != CONFIG_SEMCONV_OLD) {
                span_attr_str(span, "rpc.system.name", "grpc");
                span_attr_str(span, "rpc.method", method);
                span_attr_str(span, "rpc.response.status_code", grpc_status_name(status->code));
        }
        if (probe->config->semconv != CONFIG_SEMCONV_NEW) {
                span_attr_str(span, "rpc.system", "grpc");
                span_attr_strn(span, "rpc.service", method, (size_t) (slash - method));
                if (probe->config->semconv == CONFIG_SEMCONV_OLD)
                        span_attr_str(span, "rpc.method", slash + 1);
                span_attr_int(span, "rpc.grpc.status_code", status->code);
        }
        if (status->code != 0 && !call->optional)
                span_attr_str(span, "error.type", grpc_status_name(status->code));
}

static void write_call_span(Probe *probe, const TraceContext *context, const ProbeCall *call) {
        _cleanup_(span_freep) Span *span = NULL;

        if (span_new(call->method, SPAN_KIND_CLIENT, context, &probe->root, &span) < 0)
                return;
        span_set_time(span, call->start_ns, call->start_ns + call->duration_ns);
        span_set_identity(span, &probe->identity);
        add_rpc_attributes(probe, span, call);
        if (call->status.code != 0 && !call->optional)
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
                call->status.code != 0 ? grpc_status_name(call->status.code) : "");
}

/* What failed, and where gRPC speaks of a socket, whose. */
static void note_error(Probe *probe, const ProbeCall *call) {
        char why[CRICLIENT_MESSAGE_MAX + 1] = "";
        Behind behind;

        if (*probe->error)
                return;
        if (call->status.code == GRPC_UNAVAILABLE) {
                behind_look(probe->options->endpoint, probe->options->state_dir, &behind);
                behind_explain(&behind, probe->options->endpoint, why, sizeof(why));
        }
        (void) snprintf(probe->error, sizeof(probe->error), "%s: %s: %s", text_span_name(call->method),
                        grpc_status_name(call->status.code), *why ? why : call->status.message);
}

static int do_call(Probe *probe, ProbeCall record, uint64_t timeout_ns, const void *request,
                   const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret) {
        const char *method = record.method;
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
                if (!record.optional)
                        note_error(probe, &record);
                return r;
        }
        *ret = message;
        return 0;
}

int probe_call(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
               const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret) {
        return do_call(probe, (ProbeCall){ .method = method }, timeout_ns, request, response_type, ret);
}

int probe_call_optional(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                        const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret) {
        return do_call(probe, (ProbeCall){ .method = method, .optional = true }, timeout_ns, request, response_type,
                       ret);
}

int probe_call_creating(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                        const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret) {
        int r;

        shield(probe, true);
        r = probe_interrupted(probe) ? -EINTR : probe_call(probe, method, timeout_ns, request, response_type, ret);
        shield(probe, false);
        return r;
}

uint64_t probe_time_left(const Probe *probe) {
        uint64_t now = clk_monotonic(), end = probe->begin.monotonic_ns + probe->options->timeout_ns;

        /* gRPC fails a call without time at once, with DEADLINE_EXCEEDED: the right error. */
        return end > now ? end - now : 1;
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

        r = probesteps_version(probe);
        if (r < 0)
                return r;
        /* The image first: without it there is no need to make a sandbox. */
        if (probe->options->image && !probe->options->pull) {
                r = probesteps_image(probe);
                if (r < 0)
                        return r;
        }
        probesteps_cgroup_driver(probe);
        r = probesteps_run_sandbox(probe);
        if (r < 0 || !probe->options->image)
                return r;
        if (probe->options->pull) {
                r = probesteps_image(probe);
                if (r < 0)
                        return r;
        }
        r = probesteps_create_container(probe);
        if (r < 0)
                return r;
        if (probe_interrupted(probe))
                return -EINTR;
        return probesteps_start_container(probe);
}

/* From here on a signal that comes first must not cancel anything, and what one cancelled before goes on. */
static void begin_cleaning(Probe *probe) {
        (void) pthread_mutex_lock(&probe->mutex);
        probe->shielded = true;
        criclient_resume(probe->client);
        (void) pthread_mutex_unlock(&probe->mutex);
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
        if (!probe->options->keep || probe_interrupted(probe)) {
                begin_cleaning(probe);
                error = probesteps_clean_up(probe);
                r = r < 0 ? r : error;
                remove_log_dir(probe);
        }
        write_root_span(probe);

        (void) util_write_all(probe->stop_fd, &one, sizeof(one));
        (void) pthread_join(thread, NULL);
        return probe_interrupted(probe) ? -EINTR : r;
}
