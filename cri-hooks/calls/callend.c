#include <stdlib.h>
#include <string.h>
#include "callend.h"
#include "callspan.h"
#include "callstart.h"
#include "grpcutil.h"
#include "outcome.h"

int callend_status(const Call *call, const CallEnd *end, const TapHeaders *headers, uint32_t error) {
        bool late = call->timeout_ns > 0 && end->duration_ns + CALLS_DEADLINE_NS >= call->timeout_ns;

        switch (end->how) {
        case TAP_END_TRAILERS:
                if (headers && headers->grpc_status >= 0)
                        return headers->grpc_status;
                if (headers && headers->http_status != 0 && headers->http_status != 200)
                        return grpc_status_from_http(headers->http_status);
                return GRPC_UNKNOWN;
        case TAP_END_RESET_BY_CLIENT:
        case TAP_END_CONNECTION_CLIENT:
                return late ? GRPC_DEADLINE_EXCEEDED : GRPC_CANCELLED;
        case TAP_END_RESET_BY_RUNTIME:
                return grpc_status_from_h2(error);
        case TAP_END_GOAWAY:
        case TAP_END_CONNECTION_RUNTIME:
        case TAP_END_SHUTDOWN:
        case TAP_END_CRASH:
                return GRPC_UNAVAILABLE;
        default:
                return -1;
        }
}

static bool by_caller(const Call *call) {
        return call->end.how == TAP_END_RESET_BY_CLIENT || call->end.how == TAP_END_CONNECTION_CLIENT;
}

/* Is this end of a poll, probe or stream nothing to speak of? */
static bool is_normal(const Call *call) {
        const Method *method = call->method;

        switch (call->end.status) {
        case GRPC_OK:
        case -1:
                return true;
        case GRPC_CANCELLED: /* the client lost interest before its deadline; a runtime that cancels has failed */
                return by_caller(call);
        case GRPC_NOT_FOUND:
                return method->not_found_is_normal;
        case GRPC_UNIMPLEMENTED: /* kubelet tries what a runtime may not have */
                return method->class != METHOD_PROBE;
        default:
                return false;
        }
}

bool callend_failed(const Call *call) {
        return outcome_call_failed(call_name(call), call->end.status, by_caller(call));
}

bool callend_wants_span(const Call *call) {
        /* A probe that answers with an exit code: what kubelet will act on. */
        if (call->method->class == METHOD_PROBE && call->fields && call->fields->exit_code != 0)
                return true;
        return call->method->class <= METHOD_OTHER || call->slow || !is_normal(call);
}

void callend_queue(Calls *calls, Span *span) {
        if (calls->n_spans == CALLS_SPANS_MAX)
                calls_flush(calls);
        calls->spans[calls->n_spans++] = span;
        if (calls->n_spans == 1 && calls->wake)
                calls->wake(calls, CALLS_SPANS);
}

/* What is left to do about a call that is over. */
static void settle(Call *call) {
        Calls *calls = call->calls;
        Span *span;

        if (callend_wants_span(call) && spool_wanted(&calls->spool, calls->state_fd)) {
                if (call->method->class > METHOD_PROBE)
                        callstart_note(call);
                if (callstart_context(call) < 0 || callspan_make(call, &call->end, &span) < 0)
                        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
                else
                        callend_queue(calls, span);
        }

        /* After the span: Remove* forgets whose it was. */
        callstart_end(call);
}

void callend_settle(Calls *calls) {
        while (calls->ended) {
                _cleanup_(call_freep) Call *call = calls->ended;

                calls->ended = call->next_ended;
                if (!calls->ended)
                        calls->ended_tail = &calls->ended;
                calls->n_ended--;
                settle(call);
        }
}
