#include <assert.h>
#include <string.h>
#include "semconv.h"
#include "tail.h"

const char *tail_judge(const TailRules *rules, const IngestRow *row) {
        if (rules->errors && row->outcome == OUTCOME_FAILED)
                return STORESCHEMA_KEEP_ERROR;
        if (rules->slower_than_ns > 0 && row->end_ns - row->start_ns > rules->slower_than_ns &&
            !semconv_long_lived(row->name))
                return STORESCHEMA_KEEP_SLOW;
        return NULL;
}

int tail_note_stops(Store *store, const IngestRow *rows, size_t n) {
        int r;

        for (size_t i = 0; i < n; i++) {
                if (rows[i].stop == OUTCOME_STOP_NONE || !rows[i].stop_id)
                        continue;
                r = store_stop_add(store, rows[i].stop_id, rows[i].stop, rows[i].start_ns, rows[i].stop_method,
                                   rows[i].grace_ms);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* An end of a container: if no stop call is known yet, there may be one whose span has not come. */
static int put_off(Store *store, const IngestRow *row, uint64_t now_ns) {
        int r;

        r = store_stop_excuses(store, row->outcome, row->container_id, row->sandbox_id, row->end_ns);
        if (r != 0)
                return MIN(r, 0);
        r = store_undecided_add(store, row, now_ns + TAIL_WAIT_NS);
        if (r != 0)
                return MIN(r, 0);
        /* Too many wait: one export too many does no harm. */
        r = store_keep_add(store, row->trace_id, STORESCHEMA_KEEP_ERROR, now_ns);
        return MIN(r, 0);
}

static int is_stopped(Store *store, const StoreUndecided *undecided, const TailStopping *stopping) {
        uint64_t began_ns;
        const char *id;
        int r;

        r = store_stop_excuses(store, undecided->outcome, undecided->container_id, undecided->sandbox_id,
                               undecided->end_ns);
        if (r != 0 || !stopping->fn)
                return r;
        id = stopping->fn(undecided, &began_ns, stopping->userdata);
        if (!id)
                return 0;
        r = store_stop_add(store, id, OUTCOME_STOP_CALL, began_ns, VERDICT_STOP_UNSEEN, /* grace_ms= */ -1);
        return r < 0 ? r : 1;
}

int tail_decide(const TailRules *rules, Store *store, uint64_t now_ns, const TailStopping *stopping, bool *ret_more) {
        StoreUndecided undecided;
        int r;

        *ret_more = false;
        for (unsigned n = 0; (r = store_undecided_next(store, now_ns, &undecided)) > 0; n++) {
                if (n == TAIL_DECIDE_MAX) {
                        *ret_more = true;
                        return 0;
                }
                r = rules->errors ? is_stopped(store, &undecided, stopping) : 1;
                if (r == 0)
                        r = store_keep_add(store, undecided.trace_id, STORESCHEMA_KEEP_ERROR, now_ns);
                if (r >= 0)
                        r = store_undecided_remove(store, undecided.id);
                if (r < 0)
                        return r;
        }
        return r;
}

int tail_apply(const TailRules *rules, Store *store, IngestRow *rows, size_t n, uint64_t now_ns, size_t *ret_n_kept) {
        const uint8_t *last = NULL;
        const char *reason = NULL;
        size_t n_kept = 0;
        int r;

        assert(rows || n == 0);

        /* All decisions first: a file holds the failed child before or after its parent. */
        for (size_t i = 0; i < n; i++) {
                const char *why = tail_judge(rules, rows + i);

                if (rules->errors && (rows[i].outcome == OUTCOME_EXITED || rows[i].outcome == OUTCOME_KILLED)) {
                        r = put_off(store, rows + i, now_ns);
                        if (r < 0)
                                return r;
                }
                if (!why)
                        continue;
                r = store_keep_add(store, rows[i].trace_id, why, now_ns);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < n; i++) {
                if (rows[i].target != INGEST_LOCAL)
                        continue;
                if (!last || memcmp(last, rows[i].trace_id, sizeof(rows[i].trace_id)) != 0) {
                        r = store_keep_find(store, rows[i].trace_id, &reason);
                        if (r < 0)
                                return r;
                        last = rows[i].trace_id;
                }
                if (reason) {
                        rows[i].target = INGEST_EXPORT;
                        rows[i].kept = reason;
                        n_kept++;
                }
        }

        *ret_n_kept = n_kept;
        return 0;
}
