#include <assert.h>
#include <string.h>
#include "deathdb.h"
#include "storequery.h"
#include "storeschema.h"

#define DEATH_COLUMNS                                                                                      \
        "d.container_id, coalesce(d.sandbox_id, ''), coalesce(d.pod_uid, ''), coalesce(d.pod_name, ''),"   \
        " coalesce(d.pod_namespace, ''), coalesce(d.container_name, ''), d.start_ns, d.end_ns, d.verdict," \
        " d.batch, d.trace_id, d.span_id"

/* The hook's span of a container says least. */
#define DEATH_RANK(t)                                                                                      \
        "(" t ".verdict <> 0, (SELECT n.name <> 'container' FROM span n WHERE n.trace_id = " t ".trace_id" \
        " AND n.span_id = " t ".span_id AND n.batch = " t ".batch), " t ".batch, " t ".end_ns)"

/*
 * A span that a tail rule chose stands in two batches. Where a monitor died before it could report, podspan-watch
 * reports as well. The hook reports each container.
 */
#define DEATH_IS_BEST                                                                                            \
        " NOT EXISTS (SELECT 1 FROM death x WHERE x.container_id = d.container_id"                               \
        "  AND (x.end_ns, x.batch) <> (d.end_ns, d.batch) AND x.start_ns <= d.end_ns AND d.start_ns <= x.end_ns" \
        "  AND " DEATH_RANK("x") " > " DEATH_RANK("d") ")"

/* A container by its name, or by the begin of its id. */
#define CONTAINER_MATCHES(t, what)             \
        "(" t ".container_name = " what " OR " \
        "(length(" what ") >= 4 AND substr(" t ".container_id, 1, length(" what ")) = " what "))"

/* A pod as STOREQUERY_POD_MATCHES(), or by the begin of its sandbox's id. */
#define POD_MATCHES(t, what)                                                                             \
        "(CASE WHEN instr(" what ", '/') > 0 THEN " t ".pod_namespace = substr(" what ", 1, instr(" what \
        ", '/') - 1) AND " t ".pod_name = substr(" what ", instr(" what ", '/') + 1)"                    \
        " ELSE " t ".pod_name = " what " OR " t ".pod_uid = " what " END OR "                            \
        "(length(" what ") >= 4 AND substr(" t ".sandbox_id, 1, length(" what ")) = " what "))"

#define DEATH_FILTER                                                                                                                                                                         \
        " d.end_ns >= :since AND d.end_ns <= :until AND (:pod IS NULL OR " POD_MATCHES(                                                                                                      \
                "d",                                                                                                                                                                         \
                ":pod") ") AND (:container IS NULL OR " CONTAINER_MATCHES("d",                                                                                                               \
                                                                          ":container") ") AND (:any IS NULL "                                                                               \
                                                                                        "OR " POD_MATCHES(                                                                                   \
                                                                                                "d",                                                                                         \
                                                                                                ":any") " O"                                                                                 \
                                                                                                        "R"                                                                                  \
                                                                                                        " " CONTAINER_MATCHES(                                                               \
                                                                                                                "d",                                                                         \
                                                                                                                ":an"                                                                        \
                                                                                                                "y") ") AND (:emitted = 0 OR (:emitted >> d.verdict) & 1) AND" DEATH_IS_BEST \
                                                                                                                     " ORDER BY d.end_ns DESC"

#define DEATHS_SQL     "SELECT " DEATH_COLUMNS " FROM death d WHERE" DEATH_FILTER
#define POD_DEATHS_SQL "SELECT " DEATH_COLUMNS " FROM death d WHERE d.pod_uid = :uid AND" DEATH_FILTER

int deathdb_list(StoreDb *db, const DeathFilter *filter, DeathFn fn, void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db), filter->pod_uid ? POD_DEATHS_SQL : DEATHS_SQL, &stmt);
        if (r < 0)
                return r;
        storequery_u64(stmt, ":since", filter->since_ns);
        storequery_u64(stmt, ":until", filter->until_ns > 0 ? filter->until_ns : INT64_MAX);
        storequery_u64(stmt, ":emitted", filter->emitted);
        storequery_text(stmt, ":pod", filter->pod);
        storequery_text(stmt, ":uid", filter->pod_uid);
        storequery_text(stmt, ":container", filter->container);
        storequery_text(stmt, ":any", filter->any);

        while ((r = storequery_step(stmt)) > 0) {
                int verdict = sqlite3_column_int(stmt, 8);
                Death death = {
                        .container_id = storequery_column_text(stmt, 0),
                        .sandbox_id = storequery_column_text(stmt, 1),
                        .pod_uid = storequery_column_text(stmt, 2),
                        .pod_name = storequery_column_text(stmt, 3),
                        .pod_namespace = storequery_column_text(stmt, 4),
                        .container_name = storequery_column_text(stmt, 5),
                        .start_ns = storequery_column_u64(stmt, 6),
                        .end_ns = storequery_column_u64(stmt, 7),
                        .emitted = verdict >= 0 && verdict < _VERDICT_MAX ? (Verdict) verdict : VERDICT_UNKNOWN,
                        .batch = sqlite3_column_int64(stmt, 9),
                };

                if (storequery_column_id(stmt, 10, death.trace_id, sizeof(death.trace_id)) < 0 ||
                    storequery_column_id(stmt, 11, death.span_id, sizeof(death.span_id)) < 0)
                        continue;
                r = fn(&death, userdata);
                if (r != 0)
                        return r;
        }
        return r;
}

#define CALL_COLUMNS                                                                                                  \
        "s.name AS name, coalesce(s.container_name, '') AS container_name, coalesce(s.container_id, '') AS "          \
        "container_id,"                                                                                               \
        " coalesce(s.sandbox_id, '') AS sandbox_id, coalesce(s.pod_uid, '') AS pod_uid, coalesce(s.pod_name, '') AS " \
        "pod_name,"                                                                                                   \
        " coalesce(s.pod_namespace, '') AS pod_namespace, coalesce(s.why, ''), s.start_ns, s.end_ns, s.outcome, "     \
        "s.batch,"                                                                                                    \
        " s.trace_id, s.span_id"

static int each_call(sqlite3_stmt *stmt, DeathCallFn fn, void *userdata) {
        int r;

        while ((r = storequery_step(stmt)) > 0) {
                DeathCall call = {
                        .name = storequery_column_text(stmt, 0),
                        .container_name = storequery_column_text(stmt, 1),
                        .container_id = storequery_column_text(stmt, 2),
                        .sandbox_id = storequery_column_text(stmt, 3),
                        .pod_uid = storequery_column_text(stmt, 4),
                        .pod_name = storequery_column_text(stmt, 5),
                        .pod_namespace = storequery_column_text(stmt, 6),
                        .why = storequery_column_text(stmt, 7),
                        .start_ns = storequery_column_u64(stmt, 8),
                        .end_ns = storequery_column_u64(stmt, 9),
                        .outcome = (Outcome) sqlite3_column_int(stmt, 10),
                        .batch = sqlite3_column_int64(stmt, 11),
                };

                if (storequery_column_id(stmt, 12, call.trace_id, sizeof(call.trace_id)) < 0 ||
                    storequery_column_id(stmt, 13, call.span_id, sizeof(call.span_id)) < 0)
                        continue;
                r = fn(&call, userdata);
                if (r != 0)
                        return r;
        }
        return r;
}

/* Of several copies of a span the one stored last. By the primary key. */
#define CALL_IS_LAST                                                                                \
        " NOT EXISTS (SELECT 1 FROM span y WHERE y.trace_id = s.trace_id AND y.span_id = s.span_id" \
        " AND y.batch > s.batch)"

static int list_calls(StoreDb *db, const char *sql, const char *id, uint64_t since_ns, uint64_t until_ns, uint64_t max,
                      DeathCallFn fn, void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db), sql, &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":id", id);
        storequery_u64(stmt, ":since", since_ns);
        storequery_u64(stmt, ":until", until_ns);
        storequery_u64(stmt, ":max", max);
        return each_call(stmt, fn, userdata);
}

#define SPANS_OF(where, order)                                                                              \
        "SELECT " CALL_COLUMNS " FROM span s WHERE " where                                                  \
        " AND s.start_ns >= :since AND s.start_ns <= :until AND" CALL_IS_LAST " ORDER BY s.start_ns " order \
        " LIMIT :max"

int deathdb_pod_spans(StoreDb *db, const char *uid, uint64_t since_ns, uint64_t until_ns, bool newest_first,
                      DeathCallFn fn, void *userdata) {
        return list_calls(db, newest_first ? SPANS_OF("s.pod_uid = :id", "DESC") : SPANS_OF("s.pod_uid = :id", "ASC"),
                          uid, since_ns, until_ns, DEATHDB_SPANS_MAX, fn, userdata);
}

int deathdb_container_spans(StoreDb *db, const char *id, uint64_t since_ns, uint64_t until_ns, DeathCallFn fn,
                            void *userdata) {
        return list_calls(db, SPANS_OF("s.container_id = :id", "DESC"), id, since_ns, until_ns, DEATHDB_SPANS_MAX, fn,
                          userdata);
}

int deathdb_failed_spans(StoreDb *db, uint64_t since_ns, uint64_t until_ns, DeathCallFn fn, void *userdata) {
        return list_calls(db, SPANS_OF("s.outcome = 1", "DESC"), NULL, since_ns, until_ns, INT64_MAX, fn, userdata);
}

int deathdb_seen(StoreDb *db, const char *what, unsigned max, DeathCallFn fn, void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db),
                               "SELECT * FROM (SELECT " CALL_COLUMNS
                               " FROM span s ORDER BY s.start_ns DESC LIMIT :max) q"
                               " WHERE " POD_MATCHES("q", ":pod") " OR " CONTAINER_MATCHES("q", ":pod") " LIMIT 1",
                               &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":pod", what);
        storequery_u64(stmt, ":max", max);
        return each_call(stmt, fn, userdata);
}

/* A row without a method is one that an earlier podspand stored: its id says what it stopped. */
static VerdictStop stop_of(int method, int kind, bool of_sandbox) {
        if (method > VERDICT_STOP_NONE && method < _VERDICT_STOP_MAX)
                return (VerdictStop) method;
        if (kind == OUTCOME_STOP_KILL)
                return VERDICT_STOP_ENGINE;
        return of_sandbox ? VERDICT_STOP_SANDBOX : VERDICT_STOP_CONTAINER;
}

#define STOPS_OF(table, id, method, grace, of_sandbox)                                 \
        "SELECT " method ", z.kind, z.began_ns, " grace ", " of_sandbox " FROM " table \
        " z WHERE " STORESCHEMA_SAME_ID("z", id) " AND z.began_ns <= :until"

int deathdb_stops(StoreDb *db, const char *container_id, const char *sandbox_id, uint64_t until_ns,
                  void (*fn)(VerdictStop stop, uint64_t began_ns, int64_t grace_ms, void *userdata), void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db),
                               STOPS_OF("stop", ":container", "z.method", "z.grace_ms", "0") " UNION ALL " STOPS_OF(
                                       "stop", ":sandbox", "z.method", "z.grace_ms",
                                       "1") " UNION ALL " STOPS_OF("live_stop", ":container", "NULL", "NULL",
                                                                   "0") " UNION ALL " STOPS_OF("live_stop", ":sandbox",
                                                                                               "NULL", "NULL", "1"),
                               &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":container", container_id);
        storequery_text(stmt, ":sandbox", *sandbox_id ? sandbox_id : NULL);
        storequery_u64(stmt, ":until", until_ns);

        while ((r = storequery_step(stmt)) > 0) {
                int64_t grace_ms = sqlite3_column_type(stmt, 3) == SQLITE_NULL ? -1 : sqlite3_column_int64(stmt, 3);

                fn(stop_of(sqlite3_column_int(stmt, 0), sqlite3_column_int(stmt, 1), sqlite3_column_int(stmt, 4) != 0),
                   storequery_column_u64(stmt, 2), grace_ms, userdata);
        }
        return r;
}

int deathdb_sandbox_stop(StoreDb *db, const char *sandbox_id, uint64_t since_ns, uint64_t *ret_ns) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(
                storedb_sqlite(db),
                "SELECT min(began_ns) FROM (SELECT z.began_ns FROM stop z WHERE " STORESCHEMA_SAME_ID(
                        "z", ":sandbox") " AND z.kind = 2 AND z.began_ns >= :since"
                                         " UNION ALL SELECT z.began_ns FROM live_stop z WHERE " STORESCHEMA_SAME_ID(
                                                 "z", ":sandbox") " AND z.kind = 2 AND z.began_ns >= :since)",
                &stmt);
        if (r < 0)
                return r;
        storequery_text(stmt, ":sandbox", *sandbox_id ? sandbox_id : NULL);
        storequery_u64(stmt, ":since", since_ns);
        r = storequery_step(stmt);
        if (r < 0)
                return r;
        *ret_ns = r > 0 ? storequery_column_u64(stmt, 0) : 0;
        return 0;
}

static int64_t column_known(sqlite3_stmt *stmt, int column) {
        return sqlite3_column_type(stmt, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(stmt, column);
}

int deathdb_pressure(StoreDb *db, uint64_t since_ns, uint64_t until_ns, DeathPressure *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db),
                               "SELECT sum(seconds), sum(cpu_some_us), sum(cpu_full_us), sum(io_some_us),"
                               " sum(io_full_us), sum(memory_some_us), sum(memory_full_us) FROM pressure"
                               " WHERE at_ns >= :since AND at_ns <= :until",
                               &stmt);
        if (r < 0)
                return r;
        storequery_u64(stmt, ":since", since_ns);
        storequery_u64(stmt, ":until", until_ns);
        r = storequery_step(stmt);
        if (r < 0)
                return r;
        if (r == 0 || column_known(stmt, 0) <= 0)
                return -ENOENT;
        *ret = (DeathPressure){
                .seconds = storequery_column_u64(stmt, 0),
                .cpu_some_us = column_known(stmt, 1),
                .cpu_full_us = column_known(stmt, 2),
                .io_some_us = column_known(stmt, 3),
                .io_full_us = column_known(stmt, 4),
                .memory_some_us = column_known(stmt, 5),
                .memory_full_us = column_known(stmt, 6),
        };
        return 0;
}

int deathdb_batch(StoreDb *db, int64_t batch, int (*fn)(const uint8_t *traces, size_t size, void *userdata),
                  void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(storedb_sqlite(db), "SELECT traces FROM batch WHERE id = :id AND length(traces) <= :max",
                               &stmt);
        if (r < 0)
                return r;
        storequery_u64(stmt, ":id", (uint64_t) batch);
        storequery_u64(stmt, ":max", STOREDB_BATCH_MAX);
        r = storequery_step(stmt);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        return fn(sqlite3_column_blob(stmt, 0), (size_t) sqlite3_column_bytes(stmt, 0), userdata);
}
