#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include "configvalue.h"
#include "exporter.h"
#include "log.h"

#define METHOD        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
#define USER_AGENT    "OTel-OTLP-Exporter-C/" PODSPAN_VERSION
#define DETAILS_KEY   "grpc-status-details-bin"
#define PEM_MAX       (1024U * 1024)
#define RECONNECT_MIN 200  /* ms */
#define RECONNECT_MAX 2000 /* a collector that comes back is seen within this */
#define CONNECT_WAIT  5000 /* for one attempt */
#define PIECES_MAX    1024

/* Where calls go, and how. */
typedef struct Target {
        grpc_channel *channel;
        grpc_metadata headers[CONFIG_HEADERS_MAX];
        size_t n_headers;
} Target;

typedef struct Call {
        grpc_call *call;
        Target *target; /* the call's own where the exporter has another by now */
        grpc_byte_buffer *request;
        grpc_byte_buffer *response;
        grpc_metadata_array initial;
        grpc_metadata_array trailing;
        grpc_status_code status;
        grpc_slice message;
        grpc_metadata headers[CONFIG_HEADERS_MAX];
} Call;

struct Exporter {
        grpc_completion_queue *queue;
        Target *target; /* NULL: nothing is exported */
        int event_fd;
        pthread_t thread;
        bool thread_started;
        bool initialized; /* grpc_init() was called */
        grpc_slice *pieces;
        size_t n_pieces;
        Call *call; /* under way, or ended and not taken */

        /* What the thread and we share: it sets it, we clear it. */
        atomic_bool ended;
};

/* gRPC's own words help only whoever looks for them. */
static void on_grpc_log(gpr_log_func_args *args) {
        log_debug("grpc: %s", args->message);
}

static void *run_thread(void *userdata) {
        Exporter *exporter = userdata;

        for (;;) {
                grpc_event event =
                        grpc_completion_queue_next(exporter->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
                uint64_t one = 1;

                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        return NULL;

                atomic_store(&exporter->ended, true);
                /* Can fail only where the counter is full: then it is readable already. */
                (void) !write(exporter->event_fd, &one, sizeof(one));
        }
}

static int read_pem(const char *path, char **ret, char **reterr_message) {
        size_t size;
        int r;

        if (path[0] == '\0')
                return 0;

        r = util_read_file_at(AT_FDCWD, path, PEM_MAX, ret, &size);
        if (r == -ELOOP) {
                /* Certificates are often links (Kubernetes secrets always are): the administrator named it. */
                _cleanup_free_ char *real = realpath(path, NULL);

                r = real ? util_read_file_at(AT_FDCWD, real, PEM_MAX, ret, &size) : -errno;
        }
        if (r < 0 && asprintf(reterr_message, "%s: %s", path, strerror(-r)) < 0)
                *reterr_message = NULL;
        return r;
}

static int make_credentials(const Config *config, bool tls, grpc_channel_credentials **ret, char **reterr_message) {
        _cleanup_free_ char *roots = NULL, *certificate = NULL, *key = NULL;
        grpc_ssl_pem_key_cert_pair pair;
        bool mutual;
        int r;

        if (!tls) {
                *ret = grpc_insecure_credentials_create();
                return *ret ? 0 : -ENOMEM;
        }

        r = read_pem(config->tracing_certificate, &roots, reterr_message);
        if (r == 0)
                r = read_pem(config->tracing_client_certificate, &certificate, reterr_message);
        if (r == 0)
                r = read_pem(config->tracing_client_key, &key, reterr_message);
        if (r < 0)
                return r;

        mutual = certificate && key;
        pair = (grpc_ssl_pem_key_cert_pair){ .private_key = key, .cert_chain = certificate };
        *ret = grpc_ssl_credentials_create(roots, mutual ? &pair : NULL, NULL, NULL);
        if (!*ret) {
                *reterr_message = strdup("the certificates cannot be used");
                return -EINVAL;
        }
        return 0;
}

static grpc_arg integer_arg(const char *key, int value) {
        return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *) key, .value.integer = value };
}

static int make_channel(const Config *config, grpc_channel **ret, char **reterr_message) {
        grpc_arg args[] = {
                { .type = GRPC_ARG_STRING,
                  .key = (char *) GRPC_ARG_PRIMARY_USER_AGENT_STRING,
                  .value.string = (char *) USER_AGENT },
                integer_arg(GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
                            config->tracing_compression == CONFIG_COMPRESSION_GZIP ? GRPC_COMPRESS_GZIP
                                                                                   : GRPC_COMPRESS_NONE),
                integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, EXPORTER_RESPONSE_MAX),
                integer_arg(GRPC_ARG_MAX_METADATA_SIZE, EXPORTER_METADATA_MAX),
                integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_MIN),
                integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_WAIT),
                integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX),
                /* Whether and when a request comes again is OTLP's matter, and ours. */
                integer_arg(GRPC_ARG_ENABLE_RETRIES, 0),
                integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
                /* A proxy in the environment is for the world outside; a collector is on the node or in the cluster. */
                integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
                integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        };
        grpc_channel_args channel_args = { .num_args = ARRAY_SIZE(args), .args = args };
        char target[CONFIGVALUE_HOST_MAX + 32];
        grpc_channel_credentials *credentials;
        grpc_channel *channel;
        ConfigEndpoint endpoint;
        const char *reason;
        int r;

        r = configvalue_endpoint(config->tracing_endpoint, config->tracing_insecure, &endpoint, &reason);
        if (r < 0) {
                if (asprintf(reterr_message, "tracing_endpoint: %s", reason) < 0)
                        *reterr_message = NULL;
                return r;
        }
        if (endpoint.local)
                (void) snprintf(target, sizeof(target), "unix:%s", endpoint.path);
        else
                (void) snprintf(target, sizeof(target), strchr(endpoint.host, ':') ? "dns:///[%s]:%u" : "dns:///%s:%u",
                                endpoint.host, endpoint.port);

        r = make_credentials(config, endpoint.tls, &credentials, reterr_message);
        if (r < 0)
                return r;
        channel = grpc_channel_create(target, credentials, &channel_args);
        grpc_channel_credentials_release(credentials);
        if (!channel)
                return -ENOMEM;

        *ret = channel;
        return 0;
}

static Target *target_free(Target *target) {
        if (!target)
                return NULL;

        if (target->channel)
                grpc_channel_destroy(target->channel);
        for (size_t i = 0; i < target->n_headers; i++) {
                grpc_slice_unref(target->headers[i].key);
                grpc_slice_unref(target->headers[i].value);
        }
        free(target);
        return NULL;
}
DEFINE_CLEANUP(Target *, target_free);

static int target_new(const Config *config, Target **ret, char **reterr_message) {
        _cleanup_(target_freep) Target *target = NULL;
        int r;

        target = calloc(1, sizeof(*target));
        if (!target)
                return -ENOMEM;
        r = make_channel(config, &target->channel, reterr_message);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < config->n_tracing_headers; i++)
                target->headers[target->n_headers++] = (grpc_metadata){
                        .key = grpc_slice_from_copied_string(config->tracing_headers[i].name),
                        .value = grpc_slice_from_copied_string(config->tracing_headers[i].value),
                };

        *ret = TAKE_PTR(target);
        return 0;
}

static void set_target(Exporter *exporter, Target *consume_target) {
        /* A call under way keeps what it was started with. */
        if (!exporter->call || exporter->call->target != exporter->target)
                target_free(exporter->target);
        exporter->target = consume_target;
}

/* Signals are the main loop's: no thread that starts meanwhile may take one. */
static void block_signals(sigset_t *ret_before) {
        sigset_t all;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

int exporter_reload(Exporter *exporter, const Config *config, char **reterr_message) {
        Target *target = NULL;
        sigset_t before;
        int r = 0;

        *reterr_message = NULL;

        if (config_exports(config)) {
                block_signals(&before);
                r = target_new(config, &target, reterr_message);
                (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        if (r == 0)
                set_target(exporter, target);
        return r;
}

int exporter_new(const Config *config, Exporter **ret, char **reterr_message) {
        _cleanup_(exporter_freep) Exporter *exporter = NULL;
        sigset_t before;
        int r;

        *reterr_message = NULL;

        exporter = calloc(1, sizeof(*exporter));
        if (!exporter)
                return -ENOMEM;
        exporter->event_fd = -EBADF;

        exporter->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (exporter->event_fd < 0)
                return -errno;
        exporter->pieces = calloc(PIECES_MAX, sizeof(*exporter->pieces));
        if (!exporter->pieces)
                return -ENOMEM;

        block_signals(&before);
        gpr_set_log_function(on_grpc_log);
        grpc_init();
        exporter->initialized = true;
        exporter->queue = grpc_completion_queue_create_for_next(NULL);
        r = target_new(config, &exporter->target, reterr_message);
        if (r == 0)
                r = -pthread_create(&exporter->thread, NULL, run_thread, exporter);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                return r;
        exporter->thread_started = true;

        *ret = TAKE_PTR(exporter);
        return 0;
}

/* Not what it was sent to. */
static Call *call_free(Call *call) {
        if (!call)
                return NULL;

        if (call->call)
                grpc_call_unref(call->call);
        grpc_byte_buffer_destroy(call->request);
        grpc_byte_buffer_destroy(call->response);
        grpc_metadata_array_destroy(&call->initial);
        grpc_metadata_array_destroy(&call->trailing);
        grpc_slice_unref(call->message);
        free(call);
        return NULL;
}

static void end_call(Exporter *exporter) {
        Target *target = exporter->call ? exporter->call->target : NULL;

        exporter->call = call_free(exporter->call);
        if (target != exporter->target)
                target_free(target);
}

void exporter_discard(Exporter *exporter) {
        while (exporter->n_pieces > 0)
                grpc_slice_unref(exporter->pieces[--exporter->n_pieces]);
}

Exporter *exporter_free(Exporter *exporter) {
        if (!exporter)
                return NULL;

        exporter_cancel(exporter);
        set_target(exporter, NULL);
        if (exporter->queue)
                grpc_completion_queue_shutdown(exporter->queue);
        if (exporter->thread_started) {
                (void) pthread_join(exporter->thread, NULL);
                /* Only now nobody uses it. */
                end_call(exporter);
        }
        if (exporter->queue)
                grpc_completion_queue_destroy(exporter->queue);
        if (exporter->initialized) {
                exporter_discard(exporter);
                grpc_shutdown();
        }
        free(exporter->pieces);
        close_fd(exporter->event_fd);
        free(exporter);
        return NULL;
}

int exporter_event_fd(const Exporter *exporter) {
        return exporter->event_fd;
}

int exporter_add(Exporter *exporter, const uint8_t *data, size_t size) {
        if (exporter->n_pieces == PIECES_MAX)
                return -ENOBUFS;
        exporter->pieces[exporter->n_pieces++] = grpc_slice_from_copied_buffer((const char *) data, size);
        return 0;
}

bool exporter_busy(const Exporter *exporter) {
        return exporter->call != NULL;
}

int exporter_start(Exporter *exporter, uint64_t timeout_ns) {
        const Target *target = exporter->target;
        gpr_timespec deadline;
        grpc_slice method;
        grpc_op ops[6] = {};
        Call *call;

        assert(target);

        if (exporter->call) {
                exporter_discard(exporter);
                return -EBUSY;
        }
        if (exporter->n_pieces == 0)
                return -ENODATA;

        call = calloc(1, sizeof(*call));
        if (!call) {
                exporter_discard(exporter);
                return -ENOMEM;
        }
        grpc_metadata_array_init(&call->initial);
        grpc_metadata_array_init(&call->trailing);
        call->message = grpc_empty_slice();
        call->request = grpc_raw_byte_buffer_create(exporter->pieces, exporter->n_pieces);
        exporter_discard(exporter); /* the byte buffer has references of its own */

        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_nanos((int64_t) MIN(timeout_ns, (uint64_t) INT64_MAX), GPR_TIMESPAN));
        method = grpc_slice_from_static_string(METHOD);
        call->target = exporter->target;
        call->call = grpc_channel_create_call(target->channel, NULL, GRPC_PROPAGATE_DEFAULTS, exporter->queue, method,
                                              NULL, deadline, NULL);
        /* gRPC writes into the entries it is given. */
        memcpy(call->headers, target->headers, sizeof(call->headers));

        ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[0].data.send_initial_metadata.count = target->n_headers;
        ops[0].data.send_initial_metadata.metadata = call->headers;
        ops[1].op = GRPC_OP_SEND_MESSAGE;
        ops[1].data.send_message.send_message = call->request;
        ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
        ops[4].op = GRPC_OP_RECV_MESSAGE;
        ops[4].data.recv_message.recv_message = &call->response;
        ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
        ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing;
        ops[5].data.recv_status_on_client.status = &call->status;
        ops[5].data.recv_status_on_client.status_details = &call->message;

        atomic_store(&exporter->ended, false);
        if (!call->call || grpc_call_start_batch(call->call, ops, ARRAY_SIZE(ops), call, NULL) != GRPC_CALL_OK) {
                call_free(call);
                return -EIO;
        }

        exporter->call = call;
        return 0;
}

void exporter_cancel(Exporter *exporter) {
        if (exporter->call)
                (void) grpc_call_cancel(exporter->call->call, NULL);
}

void exporter_reconnect(Exporter *exporter) {
        if (!exporter->target)
                return;
        grpc_channel_reset_connect_backoff(exporter->target->channel);
        (void) grpc_channel_check_connectivity_state(exporter->target->channel, /* try_to_connect= */ 1);
}

static void copy_details(const Call *call, ExporterAnswer *answer) {
        for (size_t i = 0; i < call->trailing.count; i++) {
                const grpc_metadata *field = call->trailing.metadata + i;
                size_t size = GRPC_SLICE_LENGTH(field->value);

                if (grpc_slice_str_cmp(field->key, DETAILS_KEY) != 0)
                        continue;
                answer->details = malloc(MAX(size, (size_t) 1));
                if (!answer->details)
                        return;
                memcpy(answer->details, GRPC_SLICE_START_PTR(field->value), size);
                answer->details_size = size;
                return;
        }
}

static void copy_response(const Call *call, ExporterAnswer *answer) {
        grpc_byte_buffer_reader reader;
        grpc_slice slice;

        if (!call->response || !grpc_byte_buffer_reader_init(&reader, call->response))
                return;
        slice = grpc_byte_buffer_reader_readall(&reader);
        answer->response = malloc(MAX(GRPC_SLICE_LENGTH(slice), (size_t) 1));
        if (answer->response) {
                memcpy(answer->response, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
                answer->response_size = GRPC_SLICE_LENGTH(slice);
        }
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
}

int exporter_take(Exporter *exporter, ExporterAnswer *ret) {
        ExporterAnswer answer = {};
        uint64_t n;

        (void) !read(exporter->event_fd, &n, sizeof(n));
        if (!exporter->call || !atomic_load(&exporter->ended))
                return 0;

        answer.code = (int) exporter->call->status;
        util_copy_bounded(answer.message, sizeof(answer.message),
                          (const char *) GRPC_SLICE_START_PTR(exporter->call->message),
                          GRPC_SLICE_LENGTH(exporter->call->message));
        copy_details(exporter->call, &answer);
        copy_response(exporter->call, &answer);
        end_call(exporter);

        *ret = answer;
        return 1;
}

void exporter_answer_deinit(ExporterAnswer *answer) {
        free(answer->details);
        free(answer->response);
        *answer = (ExporterAnswer){};
}
