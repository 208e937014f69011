#pragma once

/*
 * CRI client
 *
 * Unary calls over gRPC's C core, one at a time, each with a deadline and a traceparent of its own. The one module of
 * the command line that knows gRPC. A call can be cancelled from another thread.
 */

#include <protobuf-c/protobuf-c.h>
#include "tracecontext.h"
#include "util.h"

#define CRICLIENT_MESSAGE_MAX  1023
#define CRICLIENT_RESPONSE_MAX (16 * 1024 * 1024)

typedef struct CriClient CriClient;

typedef struct CriStatus {
        int code;                                /* GrpcStatus */
        char message[CRICLIENT_MESSAGE_MAX + 1]; /* the runtime's text, hostile */
} CriStatus;

/*
 * A client of the runtime at @endpoint, "unix:///run/crio/crio.sock" or a path. Connects with the first call. Returns 0
 * with @ret owned by the caller, -EINVAL or -ENOMEM.
 */
int criclient_new(const char *endpoint, CriClient **ret);
CriClient *criclient_free(CriClient *client);
DEFINE_CLEANUP(CriClient *, criclient_free);

/*
 * Calls @method ("runtime.v1.RuntimeService/Version"). @trace may be NULL. Returns 0 with the unpacked answer (owned by
 * the caller, protobuf_c_message_free_unpacked()), -EREMOTEIO with the reason in @ret_status, or -ENOMEM. @ret_status
 * is written in all cases.
 */
int criclient_call(CriClient *client, const char *method, const TraceContext *trace, uint64_t timeout_ns,
                   const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response_type,
                   ProtobufCMessage **ret, CriStatus *ret_status);

/* Cancels the call in flight and, until criclient_resume(), all later ones. From any thread. */
void criclient_cancel(CriClient *client);
void criclient_resume(CriClient *client);
