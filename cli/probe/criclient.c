#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include "criclient.h"

struct CriClient {
        grpc_channel *channel;
        grpc_completion_queue *queue;
        pthread_mutex_t mutex; /* guards the two below */
        grpc_call *call;       /* in flight, or NULL */
        bool cancelled;
};

int criclient_new(const char *endpoint, CriClient **ret) {
        grpc_arg args[] = {
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                  .value.integer = CRICLIENT_RESPONSE_MAX },
                { .type = GRPC_ARG_STRING,
                  .key = (char *) GRPC_ARG_DEFAULT_AUTHORITY,
                  .value.string = (char *) "localhost" },
                { .type = GRPC_ARG_INTEGER, .key = (char *) GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0 },
                { .type = GRPC_ARG_INTEGER, .key = (char *) GRPC_ARG_ENABLE_RETRIES, .value.integer = 0 },
        };
        grpc_channel_args channel_args = { .num_args = ARRAY_SIZE(args), .args = args };
        grpc_channel_credentials *credentials;
        _cleanup_free_ char *target = NULL;
        CriClient *client;

        if (endpoint[0] != '/' && strncmp(endpoint, "unix:", strlen("unix:")) != 0)
                return -EINVAL;
        if (asprintf(&target, "%s%s", endpoint[0] == '/' ? "unix:" : "", endpoint) < 0) {
                target = NULL;
                return -ENOMEM;
        }
        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;

        grpc_init();
        (void) pthread_mutex_init(&client->mutex, NULL);
        credentials = grpc_insecure_credentials_create();
        client->channel = grpc_channel_create(target, credentials, &channel_args);
        grpc_channel_credentials_release(credentials);
        client->queue = grpc_completion_queue_create_for_next(NULL);

        *ret = client;
        return 0;
}

CriClient *criclient_free(CriClient *client) {
        if (!client)
                return NULL;

        grpc_channel_destroy(client->channel);
        grpc_completion_queue_shutdown(client->queue);
        while (grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
                ;
        grpc_completion_queue_destroy(client->queue);
        grpc_shutdown_blocking();
        (void) pthread_mutex_destroy(&client->mutex);
        free(client);
        return NULL;
}

void criclient_cancel(CriClient *client) {
        (void) pthread_mutex_lock(&client->mutex);
        client->cancelled = true;
        if (client->call)
                (void) grpc_call_cancel(client->call, NULL);
        (void) pthread_mutex_unlock(&client->mutex);
}

void criclient_resume(CriClient *client) {
        (void) pthread_mutex_lock(&client->mutex);
        client->cancelled = false;
        (void) pthread_mutex_unlock(&client->mutex);
}

/* Makes @call the one that criclient_cancel() reaches, or none. */
static void set_call(CriClient *client, grpc_call *call) {
        (void) pthread_mutex_lock(&client->mutex);
        client->call = call;
        if (call && client->cancelled)
                (void) grpc_call_cancel(call, NULL);
        (void) pthread_mutex_unlock(&client->mutex);
}

static grpc_byte_buffer *pack(const ProtobufCMessage *request) {
        grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
        grpc_byte_buffer *buffer;

        (void) protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
        buffer = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return buffer;
}

static ProtobufCMessage *unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type) {
        ProtobufCMessage *message = NULL;
        grpc_byte_buffer_reader reader;
        grpc_slice slice;

        if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
                return NULL;
        slice = grpc_byte_buffer_reader_readall(&reader);
        message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
        return message;
}

int criclient_call(CriClient *client, const char *method, const TraceContext *trace, uint64_t timeout_ns,
                   const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response_type,
                   ProtobufCMessage **ret, CriStatus *ret_status) {
        char path[128], traceparent[TRACECONTEXT_TRACEPARENT_LEN + 1];
        grpc_metadata_array initial = {}, trailing = {};
        grpc_status_code code = GRPC_STATUS_UNKNOWN;
        grpc_slice details = grpc_empty_slice(), path_slice;
        grpc_byte_buffer *sent, *received = NULL;
        grpc_metadata metadata = {};
        ProtobufCMessage *message;
        grpc_call_error error;
        grpc_call *call;
        grpc_op ops[6];
        int r = 0;

        *ret_status = (CriStatus){ .code = GRPC_STATUS_UNKNOWN };
        (void) snprintf(path, sizeof(path), "/%s", method);
        path_slice = grpc_slice_from_copied_string(path);
        sent = pack(request);
        if (trace) {
                tracecontext_format(trace, traceparent);
                metadata.key = grpc_slice_from_static_string("traceparent");
                metadata.value = grpc_slice_from_copied_string(traceparent);
        }

        call = grpc_channel_create_call(
                client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue, path_slice, NULL,
                gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                             gpr_time_from_nanos((int64_t) MIN(timeout_ns, (uint64_t) INT64_MAX), GPR_TIMESPAN)),
                NULL);
        set_call(client, call);

        ops[0] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA,
                            .data.send_initial_metadata = { .count = trace ? 1 : 0, .metadata = &metadata } };
        ops[1] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sent };
        ops[2] = (grpc_op){ .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };
        ops[3] = (grpc_op){ .op = GRPC_OP_RECV_INITIAL_METADATA,
                            .data.recv_initial_metadata.recv_initial_metadata = &initial };
        ops[4] = (grpc_op){ .op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &received };
        ops[5] = (grpc_op){ .op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                            .data.recv_status_on_client = {
                                    .trailing_metadata = &trailing, .status = &code, .status_details = &details } };
        error = grpc_call_start_batch(call, ops, ARRAY_SIZE(ops), call, NULL);

        /* The call's own deadline ends the wait. */
        if (error == GRPC_CALL_OK)
                (void) grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        set_call(client, NULL);

        ret_status->code = (int) code;
        util_copy_bounded(ret_status->message, sizeof(ret_status->message),
                          (const char *) GRPC_SLICE_START_PTR(details), GRPC_SLICE_LENGTH(details));
        if (error != GRPC_CALL_OK || code != GRPC_STATUS_OK)
                r = -EREMOTEIO;
        else {
                message = unpack(received, response_type);
                if (message)
                        *ret = message;
                else {
                        *ret_status = (CriStatus){ .code = GRPC_STATUS_INTERNAL };
                        (void) snprintf(ret_status->message, sizeof(ret_status->message), "the answer cannot be read");
                        r = -EREMOTEIO;
                }
        }

        grpc_call_unref(call);
        grpc_metadata_array_destroy(&initial);
        grpc_metadata_array_destroy(&trailing);
        grpc_byte_buffer_destroy(sent);
        grpc_byte_buffer_destroy(received);
        grpc_slice_unref(details);
        grpc_slice_unref(path_slice);
        if (trace)
                grpc_slice_unref(metadata.value);
        return r;
}
