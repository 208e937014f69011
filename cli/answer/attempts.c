#include <string.h>
#include "attempts.h"
#include "spanfind.h"
#include "storequery.h"

#define SQL                                                                                                 \
        "SELECT start_ns, max(end_ns), max(outcome), max(coalesce(why, '')), trace_id, span_id, max(batch)" \
        " FROM span WHERE pod_uid = :uid AND start_ns < :before"                                            \
        " AND (name = :operation OR name LIKE '%/' || :operation)"                                          \
        " AND (:container IS NULL OR container_id = :container OR container_id IS NULL)"                    \
        " AND (:container_name IS NULL OR container_name = :container_name OR container_name IS NULL)"      \
        " GROUP BY trace_id, span_id ORDER BY start_ns DESC LIMIT :limit"

#define BATCH_SQL "SELECT traces FROM batch WHERE id = :id AND length(traces) <= :max"

/* A call that its caller gave up is no failure by itself; its span says that it was. */
static bool was_given_up(StoreDb *db, sqlite3_stmt *row) {
        _cleanup_(spanfind_freep) Podspan__Otlp__Span *span = NULL;
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        uint8_t trace_id[16], span_id[8];
        const char *code;

        if (storequery_column_id(row, 4, trace_id, sizeof(trace_id)) < 0 ||
            storequery_column_id(row, 5, span_id, sizeof(span_id)) < 0 ||
            storequery_prepare(storedb_sqlite(db), BATCH_SQL, &stmt) < 0)
                return false;
        storequery_u64(stmt, ":id", storequery_column_u64(row, 6));
        storequery_u64(stmt, ":max", STOREDB_BATCH_MAX);
        if (storequery_step(stmt) <= 0 || spanfind(sqlite3_column_blob(stmt, 0), (size_t) sqlite3_column_bytes(stmt, 0),
                                                   trace_id, span_id, &span) < 0)
                return false;
        code = spanfind_string(span, "rpc.response.status_code");
        return (code && strcmp(code, "CANCELLED") == 0) || spanfind_number(span, "rpc.grpc.status_code", -1) == 1;
}

static const char *or_null(const char *s) {
        return *s ? s : NULL;
}

int attempts_find(StoreDb *db, const char *operation, const Identity *identity, uint64_t start_ns, Attempts *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        uint64_t later_ns = start_ns;
        Attempts attempts = {};
        int r;

        if (!*identity->pod_uid) {
                *ret = attempts;
                return 0;
        }
        r = storequery_prepare(storedb_sqlite(db), SQL, &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":uid", identity->pod_uid);
        storequery_text(stmt, ":operation", operation);
        storequery_text(stmt, ":container", or_null(identity->container_id));
        storequery_text(stmt, ":container_name", or_null(identity->container_name));
        storequery_u64(stmt, ":before", start_ns);
        storequery_u64(stmt, ":limit", ATTEMPTS_MAX);
        while ((r = storequery_step(stmt)) > 0) {
                uint64_t begin_ns = storequery_column_u64(stmt, 0), end_ns = storequery_column_u64(stmt, 1);
                const char *why = storequery_column_text(stmt, 3);
                bool ok = sqlite3_column_int(stmt, 2) == OUTCOME_OK;

                /* One that went well, or a long pause, begins another row. */
                if ((ok && !was_given_up(db, stmt)) || (later_ns > end_ns && later_ns - end_ns > ATTEMPTS_GAP))
                        break;
                later_ns = begin_ns;
                attempts.n++;
                attempts.first_ns = begin_ns;
                attempts.n_deadline += strstr(why, "DEADLINE_EXCEEDED") != NULL;
                attempts.n_given_up += ok || strstr(why, "DEADLINE_EXCEEDED") || strstr(why, "CANCELLED");
                if (ok)
                        why = "CANCELLED";
                if (!*attempts.why)
                        util_copy_bounded(attempts.why, sizeof(attempts.why), why, strlen(why));
        }
        if (r < 0)
                return r;
        *ret = attempts;
        return 0;
}
