#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "client.h"
#include "log.h"
#include "retry.h"

#define METHOD       "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
#define USER_AGENT   "OTel-OTLP-Exporter-C/" PODSPAN_VERSION
#define DETAILS_KEY  "grpc-status-details-bin"
#define FROM_PEER    "Error received from peer"
#define CONNECT_WAIT 5000 /* ms, for one attempt */

typedef struct Call {
        grpc_call *call;
        grpc_byte_buffer *request;
        grpc_byte_buffer *response;
        grpc_metadata_array initial;
        grpc_metadata_array trailing;
        grpc_status_code status;
        grpc_slice message;
        const char *error; /* gRPC's own words */
        grpc_metadata headers[CONFIG_HEADERS_MAX];
} Call;

typedef struct Mapping {
        void *data;
        size_t size;
} Mapping;

struct Client {
        grpc_completion_queue *queue;
        grpc_channel *channel;
        grpc_metadata headers[CONFIG_HEADERS_MAX];
        size_t n_headers;
        int event_fd;
        pthread_t thread;
        Call *call; /* under way, or ended and not taken */

        /* What the thread and we share: it sets it, we clear it. */
        atomic_bool ended;
};

/* gRPC's own words help only whoever looks for them. */
static void on_grpc_log(gpr_log_func_args *args) {
        log_debug("grpc: %s", args->message);
}

static void *run_thread(void *userdata) {
        Client *client = userdata;

        for (;;) {
                grpc_event event = grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
                uint64_t one = 1;

                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        return NULL;

                atomic_store(&client->ended, true);
                /* Can fail only where the counter is full: then it is readable already. */
                (void) !write(client->event_fd, &one, sizeof(one));
        }
}

/*
 * gRPC 1.51 gives a stream that its own HTTP/2 side ended a status as if the peer had sent it. These are its words
 * then, where the code would otherwise mean a refusal. A text that is missing here costs spans of a broken collector; a
 * collector that says the same is asked again.
 */
static bool own_words(const char *message) {
        static const char *const words[] = {
                "overflows local window",
                "Stream removed",
                "metadata size exceeds limit",
                "Received RST_STREAM with error code",
                "vs. 4194303)", /* CLIENT_RESPONSE_MAX */
                "Received http2 header with status",
                "unsupported data flags",
                "Bad GRPC frame type",
                "decompressing data for algorithm",
        };

        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (strstr(message, words[i]))
                        return true;
        return false;
}

static int make_credentials(const ExportwireSetup *setup, grpc_channel_credentials **ret) {
        grpc_ssl_pem_key_cert_pair pair = { .private_key = setup->key, .cert_chain = setup->certificate };

        *ret = setup->tls ? grpc_ssl_credentials_create(setup->roots, setup->key && setup->certificate ? &pair : NULL,
                                                        NULL, NULL)
                          : grpc_insecure_credentials_create();
        return *ret ? 0 : -EINVAL;
}

static grpc_arg integer_arg(const char *key, int value) {
        return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *) key, .value.integer = value };
}

static int make_channel(const ExportwireSetup *setup, grpc_channel **ret) {
        grpc_arg args[] = {
                { .type = GRPC_ARG_STRING,
                  .key = (char *) GRPC_ARG_PRIMARY_USER_AGENT_STRING,
                  .value.string = (char *) USER_AGENT },
                integer_arg(GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
                            setup->gzip ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE),
                integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, CLIENT_RESPONSE_MAX),
                integer_arg(GRPC_ARG_MAX_METADATA_SIZE, CLIENT_METADATA_MAX),
                integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_WAIT),
                /* Whether and when a request comes again is OTLP's matter, and podspand's. */
                integer_arg(GRPC_ARG_ENABLE_RETRIES, 0),
                integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
                /* A proxy in the environment is for the world outside; a collector is on the node or in the cluster. */
                integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
                integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        };
        grpc_channel_args channel_args = { .num_args = ARRAY_SIZE(args), .args = args };
        grpc_channel_credentials *credentials;
        int r;

        r = make_credentials(setup, &credentials);
        if (r < 0)
                return r;
        *ret = grpc_channel_create(setup->target, credentials, &channel_args);
        grpc_channel_credentials_release(credentials);
        return *ret ? 0 : -ENOMEM;
}

int client_new(const ExportwireSetup *setup, Client **ret) {
        Client *client;
        int r;

        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        client->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (client->event_fd < 0)
                return -errno;

        gpr_set_log_function(on_grpc_log);
        grpc_init();
        client->queue = grpc_completion_queue_create_for_next(NULL);
        r = make_channel(setup, &client->channel);
        if (r < 0)
                return r;
        for (size_t i = 0; i < setup->n_headers; i++)
                client->headers[client->n_headers++] = (grpc_metadata){
                        .key = grpc_slice_from_copied_string(setup->headers[i].name),
                        .value = grpc_slice_from_copied_string(setup->headers[i].value),
                };

        r = -pthread_create(&client->thread, NULL, run_thread, client);
        if (r < 0)
                return r;
        *ret = client;
        return 0;
}

int client_event_fd(const Client *client) {
        return client->event_fd;
}

static void end_call(Client *client) {
        Call *call = TAKE_PTR(client->call);

        grpc_call_unref(call->call);
        grpc_byte_buffer_destroy(call->request);
        grpc_byte_buffer_destroy(call->response);
        grpc_metadata_array_destroy(&call->initial);
        grpc_metadata_array_destroy(&call->trailing);
        grpc_slice_unref(call->message);
        gpr_free((void *) call->error);
        free(call);
}

static void unmap(void *userdata) {
        Mapping *mapping = userdata;

        (void) munmap(mapping->data, mapping->size);
        free(mapping);
}

int client_start(Client *client, void *data, size_t size, uint64_t timeout_ns) {
        gpr_timespec deadline;
        grpc_slice body;
        grpc_op ops[6] = {};
        Mapping *mapping;
        Call *call;

        if (client->call)
                return -EBUSY;

        call = calloc(1, sizeof(*call));
        mapping = malloc(sizeof(*mapping));
        if (!call || !mapping) {
                free(call);
                free(mapping);
                return -ENOMEM;
        }
        *mapping = (Mapping){ .data = data, .size = size };
        grpc_metadata_array_init(&call->initial);
        grpc_metadata_array_init(&call->trailing);
        call->message = grpc_empty_slice();
        body = grpc_slice_new_with_user_data(data, size, unmap, mapping);
        call->request = grpc_raw_byte_buffer_create(&body, 1);
        grpc_slice_unref(body); /* the byte buffer has a reference of its own */

        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_nanos((int64_t) MIN(timeout_ns, (uint64_t) INT64_MAX), GPR_TIMESPAN));
        call->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                              grpc_slice_from_static_string(METHOD), NULL, deadline, NULL);
        /* gRPC writes into the entries it is given. */
        memcpy(call->headers, client->headers, sizeof(call->headers));

        ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[0].data.send_initial_metadata.count = client->n_headers;
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
        ops[5].data.recv_status_on_client.error_string = &call->error;

        atomic_store(&client->ended, false);
        /* Not undone: the caller ends the process. */
        if (!call->call || grpc_call_start_batch(call->call, ops, ARRAY_SIZE(ops), call, NULL) != GRPC_CALL_OK)
                return -EIO;

        client->call = call;
        return 0;
}

static void read_details(const Call *call, ExportwireAnswer *answer) {
        for (size_t i = 0; i < call->trailing.count; i++) {
                const grpc_metadata *field = call->trailing.metadata + i;

                if (grpc_slice_str_cmp(field->key, DETAILS_KEY) != 0)
                        continue;
                answer->told = retry_info_parse(GRPC_SLICE_START_PTR(field->value), GRPC_SLICE_LENGTH(field->value),
                                                &answer->delay_ns) == 0;
                return;
        }
}

static void read_response(const Call *call, ExportwireAnswer *answer) {
        grpc_byte_buffer_reader reader;
        RetryPartial partial = {};
        grpc_slice slice;

        if (!call->response || !grpc_byte_buffer_reader_init(&reader, call->response))
                return;
        slice = grpc_byte_buffer_reader_readall(&reader);
        answer->response_bad = retry_partial_parse(GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice), &partial) < 0;
        answer->n_rejected = partial.n_rejected;
        exportwire_set_text(answer->partial, partial.message, strlen(partial.message));
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
}

int client_take(Client *client, ExportwireAnswer *ret) {
        ExportwireAnswer answer = { .type = EXPORTWIRE_ANSWER };
        const Call *call = client->call;
        uint64_t n;

        (void) !read(client->event_fd, &n, sizeof(n));
        if (!call || !atomic_load(&client->ended))
                return 0;

        answer.code = (uint32_t) call->status < _GRPC_STATUS_MAX ? (uint32_t) call->status : GRPC_UNKNOWN;
        /* A status that our own side made up of a broken stream or of HTTP's status is nobody's refusal. */
        exportwire_set_text(answer.message, (const char *) GRPC_SLICE_START_PTR(call->message),
                            GRPC_SLICE_LENGTH(call->message));
        answer.local = answer.code != GRPC_OK &&
                       (!call->error || !strstr(call->error, FROM_PEER) || own_words(answer.message));
        if (!answer.local)
                read_details(call, &answer);
        read_response(call, &answer);
        end_call(client);

        *ret = answer;
        return 1;
}
