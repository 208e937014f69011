#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include "storesql.h"

static const char *const keep_reasons[] = { STORESCHEMA_KEEP_ERROR, STORESCHEMA_KEEP_SLOW };

static int get_number(sqlite3 *sqlite, const char *sql, int64_t *ret) {
        sqlite3_stmt *stmt = NULL;
        int r;

        r = sqlite3_prepare_v2(sqlite, sql, -1, &stmt, NULL);
        if (r == SQLITE_OK) {
                r = sqlite3_step(stmt);
                *ret = r == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
                r = sqlite3_finalize(stmt);
        }
        return storefile_errno(r);
}

int store_open(const char *dir, const StoreLimits *limits, Store **ret, char **ret_aside) {
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_free_ char *aside = NULL;
        int64_t page_size = 0, n_keep = 0, n_stop = 0, n_undecided = 0, n_pressure = 0;
        int outcome, r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        store->dir_fd = -EBADF;
        store->limits = *limits;

        store->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->dir_fd < 0)
                return -errno;

        outcome = storefile_open(dir, &store->sqlite, &aside);
        if (outcome < 0)
                return outcome;

        r = get_number(store->sqlite, "PRAGMA page_size", &page_size);
        if (r == 0)
                r = get_number(store->sqlite, "SELECT count(*) FROM keep", &n_keep);
        if (r == 0)
                r = get_number(store->sqlite, "SELECT count(*) FROM stop", &n_stop);
        if (r == 0)
                r = get_number(store->sqlite, "SELECT count(*) FROM undecided", &n_undecided);
        if (r == 0)
                r = get_number(store->sqlite, "SELECT count(*) FROM pressure", &n_pressure);
        if (r == 0)
                r = get_number(store->sqlite, "SELECT seq FROM sqlite_sequence WHERE name = 'batch'",
                               &store->last_batch);
        if (r < 0)
                return r;
        store->page_size = (uint64_t) page_size;
        store->n_keep = (uint64_t) n_keep;
        store->n_stop = (uint64_t) n_stop;
        store->n_undecided = (uint64_t) n_undecided;
        store->n_pressure = (uint64_t) n_pressure;

        if (aside)
                *ret_aside = TAKE_PTR(aside);
        *ret = TAKE_PTR(store);
        return outcome;
}

Store *store_free(Store *store) {
        if (!store)
                return NULL;

        for (size_t i = 0; i < _SQL_MAX; i++)
                (void) sqlite3_finalize(store->stmts[i]);
        (void) sqlite3_close_v2(store->sqlite);
        close_fd(store->dir_fd);
        free(store);
        return NULL;
}

void store_set_limits(Store *store, const StoreLimits *limits) {
        store->limits = *limits;
}

const char *store_error(const Store *store) {
        return sqlite3_errmsg(store->sqlite);
}

int store_begin(Store *store) {
        int r;

        assert(!store->in_transaction);

        r = storesql_run(store, SQL_BEGIN, NULL);
        if (r == 0)
                store->in_transaction = true;
        return r;
}

int store_commit(Store *store) {
        int r;

        assert(store->in_transaction);

        r = storesql_run(store, SQL_COMMIT, NULL);
        if (r == 0)
                store->in_transaction = false;
        return r;
}

void store_rollback(Store *store) {
        if (!store->in_transaction)
                return;
        store->in_transaction = false;

        /* Some errors have rolled back already; the batch numbers that were given out stay unused, which is fine. */
        if (!sqlite3_get_autocommit(store->sqlite))
                (void) storesql_run(store, SQL_ROLLBACK, NULL);
        (void) get_number(store->sqlite, "SELECT count(*) FROM keep", (int64_t *) &store->n_keep);
        (void) get_number(store->sqlite, "SELECT count(*) FROM stop", (int64_t *) &store->n_stop);
        (void) get_number(store->sqlite, "SELECT count(*) FROM undecided", (int64_t *) &store->n_undecided);
        (void) get_number(store->sqlite, "SELECT count(*) FROM pressure", (int64_t *) &store->n_pressure);
}

static int run_name(Store *store, Sql sql, const char *name) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        return storesql_run(store, sql, NULL);
}

int store_file_known(Store *store, const char *name) {
        return run_name(store, SQL_FILE_KNOWN, name);
}

int store_file_add(Store *store, const char *name) {
        return run_name(store, SQL_FILE_ADD, name);
}

int store_file_forget(Store *store, const char *name) {
        return run_name(store, SQL_FILE_FORGET, name);
}

int64_t store_batch_next(Store *store) {
        return ++store->last_batch;
}

static int add_death(Store *store, int64_t batch, const IngestRow *row) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_DEATH_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, row->container_id);
        storesql_bind_number(stmt, 2, row->end_ns);
        storesql_bind_number(stmt, 3, row->start_ns);
        storesql_bind_text(stmt, 4, row->sandbox_id);
        storesql_bind_text(stmt, 5, row->pod_uid);
        storesql_bind_text(stmt, 6, row->pod_name);
        storesql_bind_text(stmt, 7, row->pod_namespace);
        storesql_bind_text(stmt, 8, row->container_name);
        storesql_bind_id(stmt, 9, row->trace_id, sizeof(row->trace_id));
        storesql_bind_id(stmt, 10, row->span_id, sizeof(row->span_id));
        (void) sqlite3_bind_int64(stmt, 11, batch);
        (void) sqlite3_bind_int(stmt, 12, row->verdict);
        return storesql_step(stmt);
}

int store_span_add(Store *store, int64_t batch, const IngestRow *row) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_SPAN_ADD, &stmt);
        if (r < 0)
                return r;

        (void) sqlite3_bind_int64(stmt, 1, batch);
        storesql_bind_id(stmt, 2, row->trace_id, sizeof(row->trace_id));
        storesql_bind_id(stmt, 3, row->span_id, sizeof(row->span_id));
        if (row->has_parent)
                storesql_bind_id(stmt, 4, row->parent_id, sizeof(row->parent_id));
        else
                (void) sqlite3_bind_null(stmt, 4);
        storesql_bind_number(stmt, 5, row->start_ns);
        storesql_bind_number(stmt, 6, row->end_ns);
        (void) sqlite3_bind_int(stmt, 7, row->kind);
        (void) sqlite3_bind_int(stmt, 8, row->status);
        storesql_bind_number(stmt, 9, row->flags);
        storesql_bind_text(stmt, 10, row->name);
        storesql_bind_text(stmt, 11, row->service);
        storesql_bind_text(stmt, 12, row->pod_uid);
        storesql_bind_text(stmt, 13, row->pod_name);
        storesql_bind_text(stmt, 14, row->pod_namespace);
        storesql_bind_text(stmt, 15, row->container_name);
        storesql_bind_text(stmt, 16, row->container_id);
        storesql_bind_text(stmt, 17, row->sandbox_id);
        (void) sqlite3_bind_int(stmt, 18, row->outcome);
        storesql_bind_text(stmt, 19, row->why);
        r = storesql_step(stmt);
        return r == 0 && row->death ? add_death(store, batch, row) : r;
}

int store_batch_add(Store *store, const StoreBatch *batch, int state, const uint8_t *traces) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_BATCH_ADD, &stmt);
        if (r < 0)
                return r;

        (void) sqlite3_bind_int64(stmt, 1, batch->id);
        storesql_bind_number(stmt, 2, batch->received_ns);
        (void) sqlite3_bind_int(stmt, 3, state);
        storesql_bind_number(stmt, 4, batch->n_spans);
        storesql_bind_number(stmt, 5, batch->size);
        (void) sqlite3_bind_blob64(stmt, 6, traces, batch->size, SQLITE_STATIC);
        return storesql_step(stmt);
}

int store_pending_list(Store *store, size_t max, StoreBatch *ret) {
        sqlite3_stmt *stmt;
        int r, n = 0;

        r = storesql_get(store, SQL_PENDING, &stmt);
        if (r < 0)
                return r;
        storesql_bind_number(stmt, 1, MIN(max, (size_t) STORE_LIST_MAX));
        while ((r = storesql_step(stmt)) > 0) {
                storesql_read_batch(stmt, ret + n);
                ret[n++].size = (size_t) sqlite3_column_int64(stmt, 3);
        }
        return r < 0 ? r : n;
}

int store_batch_read(Store *store, int64_t id, int (*fn)(const uint8_t *data, size_t size, void *userdata),
                     void *userdata) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_BATCH_READ, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, id);
        r = storesql_step(stmt);
        if (r == 0)
                return -ENOENT;
        if (r < 0)
                return r;

        r = fn(sqlite3_column_blob(stmt, 0), (size_t) sqlite3_column_bytes(stmt, 0), userdata);
        (void) sqlite3_reset(stmt);
        return r;
}

static int settle(Store *store, int64_t id, const char *key) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_LEDGER_SETTLE, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, key);
        (void) sqlite3_bind_int64(stmt, 2, id);
        return storesql_step(stmt);
}

int store_batch_set_state(Store *store, int64_t id, int state) {
        sqlite3_stmt *stmt;
        int r;

        r = settle(store, id,
                   state == STORESCHEMA_STATE_REFUSED ? STORESCHEMA_LEDGER_REFUSED : STORESCHEMA_LEDGER_EXPORTED);
        if (r < 0)
                return r;
        r = storesql_get(store, SQL_BATCH_STATE, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int(stmt, 2, state);
        return storesql_run_id(store, SQL_BATCH_STATE, id);
}

int store_keep_add(Store *store, const uint8_t *trace_id, const char *reason, uint64_t now_ns) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_keep >= STORE_KEEP_MAX) {
                r = storesql_run_id(store, SQL_KEEP_TRIM, STORE_KEEP_MAX / 16);
                if (r < 0)
                        return r;
                store->n_keep -= MIN((uint64_t) sqlite3_changes(store->sqlite), store->n_keep);
        }

        r = storesql_get(store, SQL_KEEP_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        storesql_bind_text(stmt, 2, reason);
        storesql_bind_number(stmt, 3, now_ns);
        r = storesql_step(stmt);
        if (r < 0)
                return r;

        r = sqlite3_changes(store->sqlite) > 0;
        store->n_keep += (uint64_t) r;
        return r;
}

/* The reason outlives the statement; what another version wrote there is as good as the first. */
static const char *keep_reason(const char *s) {
        for (size_t i = 0; i < ARRAY_SIZE(keep_reasons); i++)
                if (s && strcmp(s, keep_reasons[i]) == 0)
                        return keep_reasons[i];
        return keep_reasons[0];
}

int store_keep_find(Store *store, const uint8_t *trace_id, const char **ret_reason) {
        sqlite3_stmt *stmt;
        int r;

        *ret_reason = NULL;
        if (store->n_keep == 0)
                return 0;

        r = storesql_get(store, SQL_KEEP_FIND, &stmt);
        if (r < 0)
                return r;
        storesql_bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        r = storesql_step(stmt);
        if (r > 0) {
                *ret_reason = keep_reason((const char *) sqlite3_column_text(stmt, 0));
                (void) sqlite3_reset(stmt);
        }
        return r < 0 ? r : 0;
}

int store_promote_next(Store *store, uint8_t *ret_trace_id, const char **ret_reason) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_keep == 0)
                return 0;

        r = storesql_get(store, SQL_PROMOTE_NEXT, &stmt);
        if (r < 0)
                return r;
        r = storesql_step(stmt);
        if (r <= 0)
                return r;

        if (sqlite3_column_bytes(stmt, 0) == TRACECONTEXT_TRACE_ID_SIZE)
                memcpy(ret_trace_id, sqlite3_column_blob(stmt, 0), TRACECONTEXT_TRACE_ID_SIZE);
        else
                r = -EUCLEAN;
        *ret_reason = keep_reason((const char *) sqlite3_column_text(stmt, 1));
        (void) sqlite3_reset(stmt);
        return r;
}

int store_promote_batches(Store *store, const uint8_t *trace_id, size_t max, int64_t *ret) {
        sqlite3_stmt *stmt;
        int r, n = 0;

        r = storesql_get(store, SQL_PROMOTE_BATCHES, &stmt);
        if (r < 0)
                return r;
        storesql_bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        storesql_bind_number(stmt, 2, max);
        while ((r = storesql_step(stmt)) > 0)
                ret[n++] = sqlite3_column_int64(stmt, 0);
        return r < 0 ? r : n;
}

int store_promote_done(Store *store, const uint8_t *trace_id) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_PROMOTE_DONE, &stmt);
        if (r < 0)
                return r;
        storesql_bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        return storesql_step(stmt);
}

int store_stop_add(Store *store, const char *id, OutcomeStop kind, uint64_t began_ns, VerdictStop method,
                   int64_t grace_ms) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_stop >= STORE_STOP_MAX) {
                r = storesql_run_id(store, SQL_STOP_TRIM, STORE_STOP_MAX / 16);
                if (r < 0)
                        return r;
                store->n_stop -= MIN((uint64_t) sqlite3_changes(store->sqlite), store->n_stop);
        }

        r = storesql_get(store, SQL_STOP_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, id);
        (void) sqlite3_bind_int(stmt, 2, kind);
        storesql_bind_number(stmt, 3, began_ns);
        (void) sqlite3_bind_int(stmt, 4, method);
        if (grace_ms < 0)
                (void) sqlite3_bind_null(stmt, 5);
        else
                storesql_bind_number(stmt, 5, (uint64_t) grace_ms);
        r = storesql_step(stmt);
        if (r == 0)
                store->n_stop += (uint64_t) sqlite3_changes(store->sqlite);
        return r;
}

int store_stop_excuses(Store *store, Outcome outcome, const char *container_id, const char *sandbox_id,
                       uint64_t end_ns) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_stop == 0)
                return 0;
        r = storesql_get(store, SQL_STOP_EXCUSES, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int(stmt, 1, outcome);
        storesql_bind_text(stmt, 2, container_id);
        storesql_bind_text(stmt, 3, sandbox_id);
        storesql_bind_number(stmt, 4, end_ns);
        return storesql_run(store, SQL_STOP_EXCUSES, NULL);
}

int store_undecided_add(Store *store, const IngestRow *row, uint64_t due_ns) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_undecided >= STORE_UNDECIDED_MAX)
                return 0;
        r = storesql_get(store, SQL_UNDECIDED_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_id(stmt, 1, row->trace_id, sizeof(row->trace_id));
        (void) sqlite3_bind_int(stmt, 2, row->outcome);
        storesql_bind_text(stmt, 3, row->container_id);
        storesql_bind_text(stmt, 4, row->sandbox_id);
        storesql_bind_number(stmt, 5, row->end_ns);
        storesql_bind_number(stmt, 6, due_ns);
        r = storesql_step(stmt);
        if (r < 0)
                return r;
        store->n_undecided++;
        return 1;
}

static void copy_text(sqlite3_stmt *stmt, int column, char ret[static STORE_TEXT_MAX + 1]) {
        const char *s = (const char *) sqlite3_column_text(stmt, column) ?: "";

        util_copy_bounded(ret, STORE_TEXT_MAX + 1, s, strlen(s));
}

int store_undecided_next(Store *store, uint64_t now_ns, StoreUndecided *ret) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_undecided == 0)
                return 0;
        r = storesql_get(store, SQL_UNDECIDED_NEXT, &stmt);
        if (r < 0)
                return r;
        storesql_bind_number(stmt, 1, now_ns);
        r = storesql_step(stmt);
        if (r <= 0)
                return r;

        ret->id = sqlite3_column_int64(stmt, 0);
        if (sqlite3_column_bytes(stmt, 1) == TRACECONTEXT_TRACE_ID_SIZE)
                memcpy(ret->trace_id, sqlite3_column_blob(stmt, 1), TRACECONTEXT_TRACE_ID_SIZE);
        else
                r = -EUCLEAN;
        ret->outcome = (Outcome) sqlite3_column_int(stmt, 2);
        copy_text(stmt, 3, ret->container_id);
        copy_text(stmt, 4, ret->sandbox_id);
        ret->end_ns = (uint64_t) sqlite3_column_int64(stmt, 5);
        (void) sqlite3_reset(stmt);
        return r;
}

int store_undecided_remove(Store *store, int64_t id) {
        int r = storesql_run_id(store, SQL_UNDECIDED_REMOVE, id);

        if (r == 0 && store->n_undecided > 0)
                store->n_undecided--;
        return r;
}

int store_pressure_add(Store *store, uint64_t at_ns, uint32_t seconds, const int32_t us[static STORE_PRESSURE_N]) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_pressure >= STORE_PRESSURE_MAX) {
                r = storesql_run_id(store, SQL_PRESSURE_TRIM, STORE_PRESSURE_MAX / 16);
                if (r < 0)
                        return r;
                store->n_pressure -= MIN((uint64_t) sqlite3_changes(store->sqlite), store->n_pressure);
        }

        r = storesql_get(store, SQL_PRESSURE_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_number(stmt, 1, at_ns);
        storesql_bind_number(stmt, 2, seconds);
        for (int i = 0; i < STORE_PRESSURE_N; i++)
                if (us[i] < 0)
                        (void) sqlite3_bind_null(stmt, 3 + i);
                else
                        (void) sqlite3_bind_int(stmt, 3 + i, us[i]);
        r = storesql_step(stmt);
        if (r == 0)
                store->n_pressure++;
        return r;
}

int store_ledger_add(Store *store, const char *key, int64_t n) {
        sqlite3_stmt *stmt;
        int r;

        if (n == 0)
                return 0;
        r = storesql_get(store, SQL_LEDGER_ADD, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, key);
        (void) sqlite3_bind_int64(stmt, 2, n);
        return storesql_step(stmt);
}

int store_disk_low(const Store *store) {
        struct statvfs fs;

        if (fstatvfs(store->dir_fd, &fs) < 0)
                return -errno;
        if (fs.f_blocks == 0)
                return 0;
        return (double) fs.f_bavail * 100.0 < (double) fs.f_blocks * store->limits.min_free_percent;
}

int store_meta_text(Store *store, const char *key, const char *value) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_META, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, key);
        storesql_bind_text(stmt, 2, value);
        return storesql_step(stmt);
}

int store_meta_endpoint(Store *store, const char *endpoint) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_META_FORGET_EXPORT, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, endpoint);
        r = storesql_step(stmt);
        return r < 0 ? r : store_meta_text(store, "endpoint", endpoint);
}

int store_meta_number(Store *store, const char *key, uint64_t value) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, SQL_META, &stmt);
        if (r < 0)
                return r;
        storesql_bind_text(stmt, 1, key);
        storesql_bind_number(stmt, 2, value);
        return storesql_step(stmt);
}
