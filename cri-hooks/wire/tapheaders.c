#include <string.h>
#include "grpcutil.h"
#include "tapheaders.h"
#include "util.h"

void tapheaders_clear(TapHeaders *headers) {
        /* Without the space for texts: this is done for every block. */
        memset(headers, 0, offsetof(TapHeaders, path));
        headers->path[0] = 0;
        headers->message[0] = 0;
        headers->grpc_status = -1;
}

static void add_tracestate(TapHeaders *headers, const char *value, size_t n_value) {
        size_t n = strlen(headers->tracestate);

        if (headers->tracestate_too_long || n_value == 0 || memchr(value, 0, n_value))
                return;
        if (n + (n > 0) + n_value > TAPHEADERS_TRACESTATE_MAX) {
                headers->tracestate_too_long = true;
                headers->tracestate[0] = 0;
                return;
        }
        if (n > 0)
                headers->tracestate[n++] = ',';
        memcpy(headers->tracestate + n, value, n_value);
        headers->tracestate[n + n_value] = 0;
}

static bool is(const char *name, size_t n_name, const char *literal, size_t n_literal) {
        return n_name == n_literal && memcmp(name, literal, n_literal) == 0;
}
#define IS(literal) is(name, n_name, literal, sizeof(literal) - 1)

void tapheaders_field(void *userdata, const char *name, size_t n_name, const char *value, size_t n_value) {
        TapHeaders *h = userdata;

        switch (n_name) {
        case 5:
                if (IS(":path")) {
                        h->method = method_find(value, n_value);
                        util_copy_bounded(h->path, sizeof(h->path), value, n_value);
                }
                break;
        case 7:
                if (IS(":status") && n_value == 3) {
                        uint64_t n;

                        if (util_parse_u64(value, n_value, &n) == 0)
                                h->http_status = (unsigned) n;
                }
                break;
        case 10:
                /* :path is among the first fields of a request, and in no reply. */
                if (IS("tracestate") && h->method)
                        add_tracestate(h, value, n_value);
                break;
        case 11:
                if (IS(TAPHEADERS_TRACEPARENT)) {
                        /* More than one is as good as none, but no reason to add another. */
                        h->traceparent_valid =
                                tracecontext_parse(value, n_value, &h->traceparent) == 0 && h->n_traceparent == 0;
                        h->n_traceparent++;
                } else if (IS("grpc-status"))
                        h->grpc_status = grpc_status_parse(value, n_value);
                break;
        case 12:
                if (IS("grpc-timeout"))
                        h->has_timeout = grpc_timeout_parse(value, n_value, &h->timeout_ns) == 0;
                else if (IS("grpc-message") && !h->method)
                        (void) grpc_message_decode(value, n_value, h->message, sizeof(h->message));
                break;
        default:
                break;
        }
}
