#include <string.h>
#include "storesql.h"

static const char *const sql_text[_SQL_MAX] = {
        [SQL_BEGIN] = "BEGIN IMMEDIATE",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_FILE_KNOWN] = "SELECT 1 FROM file WHERE name = ?1",
        [SQL_FILE_ADD] = "INSERT OR IGNORE INTO file(name) VALUES (?1)",
        [SQL_FILE_FORGET] = "DELETE FROM file WHERE name = ?1",
        /* A producer that repeats an id within a batch gets one row; the bytes hold both. */
        [SQL_SPAN_ADD] =
                "INSERT OR IGNORE INTO span(batch, trace_id, span_id, parent_id, start_ns, end_ns, kind, status,"
                " flags, name, service, pod_uid, pod_name, pod_namespace, container_name, container_id, sandbox_id, "
                "outcome,"
                " why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        [SQL_DEATH_ADD] = "INSERT OR IGNORE INTO death(container_id, end_ns, start_ns, sandbox_id, pod_uid, pod_name,"
                          " pod_namespace, container_name, trace_id, span_id, batch, verdict)"
                          " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        [SQL_BATCH_ADD] = "INSERT INTO batch(id, received_ns, state, n_spans, size, traces)"
                          " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        [SQL_BATCH_READ] = "SELECT traces FROM batch WHERE id = ?1",
        [SQL_BATCH_STATE] = "UPDATE batch SET state = ?2 WHERE id = ?1",
        [SQL_PENDING] = "SELECT id, received_ns, n_spans, size FROM batch WHERE state = 1 ORDER BY id DESC LIMIT ?1",
        [SQL_KEEP_ADD] = "INSERT OR IGNORE INTO keep(trace_id, reason, decided_ns) VALUES (?1, ?2, ?3)",
        [SQL_KEEP_FIND] = "SELECT reason FROM keep WHERE trace_id = ?1",
        [SQL_KEEP_TRIM] = "DELETE FROM keep WHERE trace_id IN"
                          " (SELECT trace_id FROM keep ORDER BY decided_ns LIMIT ?1)",
        [SQL_PROMOTE_NEXT] = "SELECT trace_id, reason FROM keep WHERE promoted = 0 LIMIT 1",
        [SQL_PROMOTE_BATCHES] = "SELECT DISTINCT span.batch FROM span JOIN batch ON batch.id = span.batch"
                                " WHERE span.trace_id = ?1 AND batch.state = 0 AND NOT EXISTS"
                                " (SELECT 1 FROM span other JOIN batch theirs ON theirs.id = other.batch"
                                "  WHERE other.trace_id = ?1 AND other.span_id = span.span_id AND theirs.state <> 0)"
                                " ORDER BY span.batch LIMIT ?2",
        [SQL_PROMOTE_DONE] = "UPDATE keep SET promoted = 1 WHERE trace_id = ?1",
        [SQL_OLDEST] = "SELECT id, received_ns, n_spans, state FROM batch WHERE id > ?1 ORDER BY id LIMIT 1",
        [SQL_OLDEST_SETTLED] = "SELECT id, received_ns, n_spans, state FROM batch WHERE id > ?1 AND state <> 1"
                               " ORDER BY id LIMIT 1",
        [SQL_REMOVE_SPANS] = "DELETE FROM span WHERE batch = ?1",
        [SQL_REMOVE_DEATHS] = "DELETE FROM death WHERE batch = ?1",
        [SQL_REMOVE_BATCH] = "DELETE FROM batch WHERE id = ?1",
        [SQL_KEEP_EXPIRE] = "DELETE FROM keep WHERE decided_ns < ?1",
        [SQL_PAGES] = "PRAGMA page_count",
        [SQL_PAGES_FREE] = "PRAGMA freelist_count",
        [SQL_VACUUM] = "PRAGMA incremental_vacuum(256)",
        [SQL_META] = "INSERT INTO meta(key, value) VALUES (?1, ?2)"
                     " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        [SQL_META_FORGET_EXPORT] = "DELETE FROM meta WHERE key IN ('last_export_ok_ns', 'last_export_error',"
                                   " 'last_export_error_ns')"
                                   " AND (SELECT value FROM meta WHERE key = 'endpoint') IS NOT ?1",
        [SQL_STOP_ADD] = "INSERT INTO stop(id, kind, began_ns, method, grace_ms) VALUES (?1, ?2, ?3, ?4, ?5)"
                         /* It was found in flight, and now has its span. */
                         " ON CONFLICT DO UPDATE SET method = excluded.method, grace_ms = excluded.grace_ms"
                         " WHERE method = 0",
        [SQL_STOP_TRIM] = "DELETE FROM stop WHERE (id, kind, began_ns) IN"
                          " (SELECT id, kind, began_ns FROM stop ORDER BY began_ns LIMIT ?1)",
        [SQL_STOP_EXPIRE] = "DELETE FROM stop WHERE began_ns < ?1",
        [SQL_STOP_EXCUSES] = "SELECT 1 FROM stop WHERE " STORESCHEMA_EXCUSED("stop", "?1", "?2", "?3", "?4") " LIMIT 1",
        [SQL_UNDECIDED_ADD] = "INSERT INTO undecided(trace_id, outcome, container_id, sandbox_id, end_ns, due_ns)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        [SQL_UNDECIDED_NEXT] = "SELECT id, trace_id, outcome, container_id, sandbox_id, end_ns FROM undecided"
                               " WHERE due_ns <= ?1 ORDER BY due_ns LIMIT 1",
        [SQL_UNDECIDED_REMOVE] = "DELETE FROM undecided WHERE id = ?1",
        [SQL_PRESSURE_ADD] =
                "INSERT OR REPLACE INTO pressure(at_ns, seconds, cpu_some_us, cpu_full_us, io_some_us, io_full_us,"
                " memory_some_us, memory_full_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        [SQL_PRESSURE_TRIM] = "DELETE FROM pressure WHERE at_ns IN"
                              " (SELECT at_ns FROM pressure ORDER BY at_ns LIMIT ?1)",
        [SQL_PRESSURE_EXPIRE] = "DELETE FROM pressure WHERE at_ns < ?1",
        [SQL_LEDGER_ADD] =
                "INSERT INTO ledger(key, n) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET n = n + excluded.n",
        [SQL_LEDGER_SETTLE] = "INSERT INTO ledger(key, n) SELECT ?1, n_spans FROM batch WHERE id = ?2 AND state = 1"
                              " ON CONFLICT(key) DO UPDATE SET n = n + excluded.n",
};

int storesql_get(Store *store, Sql sql, sqlite3_stmt **ret) {
        if (!store->stmts[sql]) {
                int r = sqlite3_prepare_v3(store->sqlite, sql_text[sql], -1, SQLITE_PREPARE_PERSISTENT,
                                           store->stmts + sql, NULL);
                if (r != SQLITE_OK)
                        return MIN(storefile_errno(r), -1);
        }

        *ret = store->stmts[sql];
        return 0;
}

int storesql_step(sqlite3_stmt *stmt) {
        int r = sqlite3_step(stmt);

        if (r == SQLITE_ROW)
                return 1;
        (void) sqlite3_reset(stmt);
        return r == SQLITE_DONE ? 0 : storefile_errno(r);
}

void storesql_bind_id(sqlite3_stmt *stmt, int at, const uint8_t *id, int size) {
        (void) sqlite3_bind_blob(stmt, at, id, size, SQLITE_STATIC);
}

void storesql_bind_text(sqlite3_stmt *stmt, int at, const char *s) {
        size_t len;

        if (!s) {
                (void) sqlite3_bind_null(stmt, at);
                return;
        }

        len = strnlen(s, STORE_TEXT_MAX + 1);
        if (len > STORE_TEXT_MAX)
                for (len = STORE_TEXT_MAX; len > 0 && ((uint8_t) s[len] & 0xc0) == 0x80;)
                        len--;
        (void) sqlite3_bind_text(stmt, at, s, (int) len, SQLITE_STATIC);
}

void storesql_bind_number(sqlite3_stmt *stmt, int at, uint64_t n) {
        (void) sqlite3_bind_int64(stmt, at, (sqlite3_int64) n);
}

int storesql_run(Store *store, Sql sql, int64_t *ret) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, sql, &stmt);
        if (r < 0)
                return r;
        r = storesql_step(stmt);
        if (r > 0) {
                if (ret)
                        *ret = sqlite3_column_int64(stmt, 0);
                (void) sqlite3_reset(stmt);
        }
        return r;
}

int storesql_run_id(Store *store, Sql sql, int64_t id) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, id);
        return storesql_run(store, sql, NULL);
}

void storesql_read_batch(sqlite3_stmt *stmt, StoreBatch *ret) {
        *ret = (StoreBatch){
                .id = sqlite3_column_int64(stmt, 0),
                .received_ns = (uint64_t) sqlite3_column_int64(stmt, 1),
                .n_spans = (size_t) sqlite3_column_int64(stmt, 2),
        };
}
