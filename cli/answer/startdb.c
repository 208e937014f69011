#include <assert.h>
#include <errno.h>
#include <string.h>
#include "startdb.h"
#include "storequery.h"
#include "storeschema.h"

#define RUN_POD_SANDBOX "runtime.v1.RuntimeService/RunPodSandbox"
#define RETRY_NS        (10ULL * 60 * NSEC_PER_SEC)

#define UID_PREFIX_MIN 8 /* characters of a UID's begin */

/* The index span_call has all columns that these read; `kind = 2` makes SQLite take it. */
#define CALL_INDEX "kind = 2 AND name = :name"

int startdb_sandbox(StoreDb *db, const char *uid, uint64_t *ret_first_ns, char **ret_name, char **ret_namespace) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        _cleanup_free_ char *name = NULL, *namespace = NULL;
        uint64_t first_ns = 0;
        int r;

        r = storequery_prepare(storedb_sqlite(db),
                               "SELECT start_ns, end_ns, outcome, pod_name, pod_namespace FROM span"
                               " WHERE pod_uid = :uid AND name = '" RUN_POD_SANDBOX "' ORDER BY start_ns DESC",
                               &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":uid", uid);
        while ((r = storequery_step(stmt)) > 0) {
                uint64_t start_ns = storequery_column_u64(stmt, 0), end_ns = storequery_column_u64(stmt, 1);

                if (first_ns == 0) {
                        name = strdup(storequery_column_text(stmt, 3));
                        namespace = strdup(storequery_column_text(stmt, 4));
                        if (!name || !namespace)
                                return -ENOMEM;
                } else if (sqlite3_column_int(stmt, 2) == OUTCOME_OK || end_ns > first_ns ||
                           first_ns - end_ns > RETRY_NS) {
                        break;
                }
                first_ns = start_ns;
        }
        if (r < 0)
                return r;
        if (first_ns == 0)
                return -ENOENT;
        *ret_first_ns = first_ns;
        *ret_name = TAKE_PTR(name);
        *ret_namespace = TAKE_PTR(namespace);
        return 0;
}

int startdb_rows(StoreDb *db, const char *uid, uint64_t since_ns, uint64_t until_ns, unsigned max, StartRowFn fn,
                 void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        /* Of the copies of one span the last one counts. */
        r = storequery_prepare(storedb_sqlite(db),
                               "SELECT trace_id, span_id, parent_id, kind, batch, start_ns, end_ns, outcome, name,"
                               " service, container_name, container_id, why FROM span s"
                               " WHERE pod_uid = :uid AND start_ns >= :since AND start_ns <= :until"
                               " AND NOT EXISTS (SELECT 1 FROM span c WHERE c.trace_id = s.trace_id"
                               "  AND c.span_id = s.span_id AND c.batch > s.batch)"
                               " ORDER BY start_ns LIMIT :max",
                               &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":uid", uid);
        storequery_u64(stmt, ":since", since_ns);
        storequery_u64(stmt, ":until", until_ns);
        storequery_u64(stmt, ":max", max);
        while ((r = storequery_step(stmt)) > 0) {
                StartRow row = {
                        .kind = sqlite3_column_int(stmt, 3),
                        .batch = sqlite3_column_int64(stmt, 4),
                        .start_ns = storequery_column_u64(stmt, 5),
                        .end_ns = storequery_column_u64(stmt, 6),
                        .outcome = (Outcome) sqlite3_column_int(stmt, 7),
                        .name = storequery_column_text(stmt, 8),
                        .service = storequery_column_text(stmt, 9),
                        .container_name = storequery_column_text(stmt, 10),
                        .container_id = storequery_column_text(stmt, 11),
                        .why = storequery_column_text(stmt, 12),
                };

                if (storequery_column_id(stmt, 0, row.trace_id, sizeof(row.trace_id)) < 0 ||
                    storequery_column_id(stmt, 1, row.span_id, sizeof(row.span_id)) < 0)
                        continue;
                row.has_parent = storequery_column_id(stmt, 2, row.parent_id, sizeof(row.parent_id)) >= 0;
                r = fn(&row, userdata);
                if (r != 0)
                        return r;
        }
        return r;
}

int startdb_calls(StoreDb *db, const char *method, uint64_t until_ns, StartCallFn fn, void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db),
                               "SELECT start_ns, end_ns, outcome, pod_uid, pod_name, pod_namespace, container_name"
                               " FROM span WHERE " CALL_INDEX " AND start_ns < :until"
                               " ORDER BY start_ns DESC LIMIT :max",
                               &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":name", method);
        storequery_u64(stmt, ":until", until_ns);
        storequery_u64(stmt, ":max", STARTDB_CALLS_MAX);
        while ((r = storequery_step(stmt)) > 0) {
                StartCall call = {
                        .start_ns = storequery_column_u64(stmt, 0),
                        .end_ns = storequery_column_u64(stmt, 1),
                        .outcome = (Outcome) sqlite3_column_int(stmt, 2),
                        .pod_uid = storequery_column_text(stmt, 3),
                        .pod_name = storequery_column_text(stmt, 4),
                        .pod_namespace = storequery_column_text(stmt, 5),
                        .container_name = storequery_column_text(stmt, 6),
                };

                r = fn(&call, userdata);
                if (r != 0)
                        return r;
        }
        return r;
}

int startdb_pod(StoreDb *db, const char *pod, char **ret_uid) {
        static const char query[] =
                "SELECT p.pod_uid FROM span p WHERE p.kind = 2 AND p.name = '" RUN_POD_SANDBOX
                "' AND p.pod_uid IS NOT NULL AND (" STOREQUERY_POD_MATCHES(
                        "p") " OR (length(:pod) >= :least AND substr(p.pod_uid, 1, length(:pod)) = :pod))"
                             " ORDER BY p.start_ns DESC LIMIT 1";
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        char *uid;
        int r;

        r = storequery_prepare(storedb_sqlite(db), query, &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":pod", pod);
        storequery_u64(stmt, ":least", UID_PREFIX_MIN);
        r = storequery_step(stmt);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        uid = strdup(storequery_column_text(stmt, 0));
        if (!uid)
                return -ENOMEM;
        *ret_uid = uid;
        return 0;
}
