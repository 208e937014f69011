#include <assert.h>
#include <string.h>
#include "tail.h"

/* OTLP's Status.StatusCode. */
#define STATUS_ERROR 2

/* How long these take says how long something ran, not how long somebody waited. */
static const char *const long_lived[] = { "attach", "container", "read_loop", "wait_for_exit_code" };

static bool is_long_lived(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(long_lived); i++)
                if (strcmp(name, long_lived[i]) == 0)
                        return true;
        return false;
}

const char *tail_judge(const TailRules *rules, const IngestRow *row) {
        if (rules->errors && row->status == STATUS_ERROR)
                return STORESCHEMA_KEEP_ERROR;
        if (rules->slower_than_ns > 0 && row->end_ns - row->start_ns > rules->slower_than_ns &&
            !is_long_lived(row->name))
                return STORESCHEMA_KEEP_SLOW;
        return NULL;
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
