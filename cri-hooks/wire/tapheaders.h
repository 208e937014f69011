#pragma once

/*
 * Header blocks
 *
 * What of a request's or reply's header fields matters to the tap and its owner. No I/O.
 */

#include "method.h"
#include "tracecontext.h"

#define TAPHEADERS_TRACEPARENT    "traceparent"
#define TAPHEADERS_MESSAGE_MAX    511 /* bytes of a grpc-message that are kept */
#define TAPHEADERS_TRACESTATE_MAX 512 /* of tracestate, W3C trace context 3.3.1.5: at least 512 */

/* What a header block says that matters here. */
typedef struct TapHeaders {
        const Method *method; /* NULL without :path */
        TraceContext traceparent;
        uint64_t timeout_ns;
        unsigned n_traceparent; /* header fields of that name, valid or not */
        unsigned http_status;   /* 0: none */
        int grpc_status;        /* -1: none */
        bool traceparent_valid;
        bool has_timeout;
        bool tracestate_too_long;
        char path[METHOD_PATH_MAX + 1];
        /* A request has no message, a reply no trace state. */
        union {
                char message[TAPHEADERS_MESSAGE_MAX + 1];
                char tracestate[TAPHEADERS_TRACESTATE_MAX + 1]; /* as it came, several joined; longer: none */
        };
} TapHeaders;

/* Before a block. */
void tapheaders_clear(TapHeaders *headers);

/* One field of it; an HpackDecFn, @userdata is the TapHeaders. */
void tapheaders_field(void *userdata, const char *name, size_t n_name, const char *value, size_t n_value);
