#include <errno.h>
#include <string.h>
#include "call.h"
#include "callcrash.h"
#include "callend.h"
#include "callspan.h"
#include "callstart.h"
#include "contextsweep.h"
#include "grpcutil.h"

static void on_left(const ContextRecord *record, void *userdata) {
        Calls *calls = userdata;
        CriFields fields = callstart_fields(&record->identity);
        Call call = {
                .calls = calls,
                .method = method_of_operation(record->operation),
                .start.realtime_ns = record->start_ns,
                .context = record->trace,
                .has_context = true,
                .fields = &fields,
        };
        CallEnd end = {
                .how = TAP_END_CRASH,
                .status = GRPC_UNAVAILABLE,
                .end_ns = calls->now.realtime_ns,
        };
        Span *span;

        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_CRI_CRASHED, 1);
        if (!spool_wanted(&calls->spool, calls->state_fd))
                return;
        if (!call.method) {
                call.method = method_find("/", 1);
                call.path = (char *) record->operation;
        }
        if (strlen(record->parent) == 2 * sizeof(call.parent.span_id) &&
            util_hex_decode(record->parent, sizeof(call.parent.span_id), call.parent.span_id) == 0)
                memcpy(call.parent.trace_id, call.context.trace_id, sizeof(call.parent.trace_id));
        if (record->deadline_ns > 0) {
                call.timeout_ns = record->deadline_ns > record->start_ns ? record->deadline_ns - record->start_ns : 0;
                end.end_ns = MIN(end.end_ns, record->deadline_ns);
        }
        end.end_ns = MAX(end.end_ns, record->start_ns);

        if (callspan_make(&call, &end, &span) < 0)
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
        else
                callend_queue(calls, span);
}

void callcrash_collect(Calls *calls) {
        static LogRatelimit limit = LOG_RATELIMIT(3600, 1);
        uint64_t before = counters_get(calls->counters, COUNTERS_CRI, COUNTERS_CRI_CRASHED), n;
        int r;

        r = contextsweep_reap(&calls->context, on_left, calls);
        if (r < 0 && r != -ENOENT && log_ratelimit(&limit))
                (void) log_warning_errno(r, "Cannot read the context directory, ignoring: %m");
        n = counters_get(calls->counters, COUNTERS_CRI, COUNTERS_CRI_CRASHED) - before;
        if (n > 0)
                log_notice("%llu calls were cut off when the podspan-cri before this one died", (unsigned long long) n);
}
