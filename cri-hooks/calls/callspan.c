#include <errno.h>
#include <string.h>
#include "callspan.h"
#include "grpcutil.h"
#include "verdict.h"

/* Go's time.Duration ends here. What a runtime makes of more, or of less than 0, is not known. */
#define GRACE_MAX_S (INT64_MAX / (int64_t) NSEC_PER_SEC)

/* podspan.rpc.end */
static const char *const end_names[] = {
        [TAP_END_TRAILERS] = "trailers",
        [TAP_END_RESET_BY_CLIENT] = "reset_by_client",
        [TAP_END_RESET_BY_RUNTIME] = "reset_by_runtime",
        [TAP_END_GOAWAY] = "goaway",
        [TAP_END_CONNECTION_CLIENT] = "connection_by_client",
        [TAP_END_CONNECTION_RUNTIME] = "connection_by_runtime",
        [TAP_END_SHUTDOWN] = "shutdown",
        [TAP_END_UNTRACKED] = "untracked",
        [TAP_END_CRASH] = "crash",
};

static void set_rpc(Span *span, const Call *call, const CallEnd *end) {
        const char *name = call_name(call), *slash = strrchr(name, '/');
        ConfigSemconv semconv = call->calls->config->semconv;

        if (semconv != CONFIG_SEMCONV_NEW) {
                span_attr_str(span, "rpc.system", "grpc");
                if (slash)
                        span_attr_strn(span, "rpc.service", name, (size_t) (slash - name));
                if (end->status >= 0)
                        span_attr_int(span, "rpc.grpc.status_code", end->status);
        }
        if (semconv != CONFIG_SEMCONV_OLD) {
                span_attr_str(span, "rpc.system.name", "grpc");
                if (end->status >= 0)
                        span_attr_str(span, "rpc.response.status_code", grpc_status_name(end->status));
        }

        /* One key with two meanings: where both are asked for, the new one counts, as rpc/dup has it. */
        span_attr_str(span, "rpc.method", semconv == CONFIG_SEMCONV_OLD ? method_short(name) : name);

        span_attr_str(span, "server.address", call->calls->runtime);
        span_attr_str(span, "network.transport", "unix");
        span_attr_str(span, "podspan.rpc.end", end_names[end->how]);
        if (call->request.n_messages > 0)
                span_attr_int(span, "podspan.rpc.request_size", (int64_t) call->request.n_bytes);
        if (call->reply.n_messages > 0)
                span_attr_int(span, "podspan.rpc.response_size", (int64_t) call->reply.n_bytes);
        if (call->timeout_ns > 0)
                span_attr_int(span, "podspan.rpc.timeout_ms", (int64_t) (call->timeout_ns / NSEC_PER_MSEC));
}

static void set_status(Span *span, const Call *call, const CallEnd *end) {
        const char *message = NULL;

        if (end->status == GRPC_OK)
                return;
        span_attr_str(span, "error.type",
                      end->how == TAP_END_CRASH ? "podspan-cri.crash"
                      : end->status < 0         ? "_OTHER"
                                                : grpc_status_name(end->status));
        if (call->calls->config->record_error_message && end->message && end->message[0])
                message = end->message;
        /* A status that is not Error has no message, by the protocol; the reason is wanted all the same. */
        if (!grpc_status_server_error(end->status)) {
                span_attr_str(span, "podspan.rpc.message", message);
                return;
        }
        span_set_status(span, SPAN_STATUS_ERROR, message);
}

/* How long the pod was known to kubelet before the runtime was asked for its first sandbox. */
static void set_wait(Span *span, const Call *call) {
        const char *seen = call->fields->s[CRI_CONFIG_SEEN];
        uint64_t seen_ns;

        span_attr_str(span, "podspan.pod.config_source", call->fields->s[CRI_CONFIG_SOURCE]);
        if (!seen || cri_time_parse(seen, strlen(seen), &seen_ns) < 0)
                return;
        span_attr_str(span, "podspan.pod.config_seen", seen);
        /* A sandbox made again says nothing about how long the pod waited, a stepped clock neither. */
        if (call->fields->sandbox_metadata && call->fields->sandbox_attempt == 0 && seen_ns <= call->start.realtime_ns)
                span_attr_int(span, "podspan.pod.wait_ms",
                              (int64_t) ((call->start.realtime_ns - seen_ns) / NSEC_PER_MSEC));
}

static void set_stop(Span *span, const Call *call) {
        VerdictStop stop = verdict_stop_method(call_name(call));
        const CriFields *fields = call->fields;

        span_attr_str(span, VERDICT_ATTR_STOP_METHOD, verdict_stop_word(stop));
        if (stop == VERDICT_STOP_CONTAINER && fields && fields->has_timeout && fields->timeout_s >= 0 &&
            fields->timeout_s <= GRACE_MAX_S)
                span_attr_int(span, VERDICT_ATTR_STOP_GRACE, fields->timeout_s * 1000);
}

static void set_fields(Span *span, const Call *call) {
        const CriFields *fields = call->fields;

        if (!fields)
                return;

        span_attr_str(span, "container.image.id", fields->s[CRI_IMAGE_REF]);
        if (fields->has_timeout)
                span_attr_int(span, "podspan.cri.timeout_s", fields->timeout_s);
        if (call->method->class == METHOD_PROBE && (call->end.status == GRPC_OK || fields->exit_code != 0))
                span_attr_int(span, "process.exit.code", fields->exit_code);
        if (call->method->effect == METHOD_RUN_POD_SANDBOX)
                set_wait(span, call);

        for (unsigned i = 0; i < CRIMSG_LINKS_MAX; i++) {
                const char *value = fields->s[CRI_LINK_0 + i];
                TraceContext to;

                if (value && tracecontext_parse(value, strlen(value), &to) == 0)
                        span_link(span, &to, "annotation");
        }
}

int callspan_make(const Call *call, const CallEnd *end, Span **ret) {
        _cleanup_(span_freep) Span *span = NULL;
        Identity identity = {};
        bool has_parent = tracecontext_valid(&call->parent);
        int r;

        r = span_new(call_name(call), SPAN_KIND_SERVER, &call->context, has_parent ? &call->parent : NULL, &span);
        if (r < 0)
                return r;

        span_set_time(span, call->start.realtime_ns, end->end_ns);
        if (has_parent && call->has_caller)
                span_set_parent_remote(span, true);
        span_set_tracestate(span, call->tracestate);

        call_identity(call, &identity);
        span_set_identity(span, &identity);
        set_rpc(span, call, end);
        set_status(span, call, end);
        set_stop(span, call);
        set_fields(span, call);
        if (tracecontext_valid(&call->start_link) &&
            memcmp(call->start_link.trace_id, call->context.trace_id, sizeof(call->context.trace_id)) != 0)
                span_link(span, &call->start_link, "start");

        *ret = TAKE_PTR(span);
        return 0;
}
