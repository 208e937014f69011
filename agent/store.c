#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include "store.h"

typedef enum Sql {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_FILE_KNOWN,
        SQL_FILE_ADD,
        SQL_FILE_FORGET,
        SQL_SPAN_ADD,
        SQL_BATCH_ADD,
        SQL_BATCH_READ,
        SQL_BATCH_STATE,
        SQL_PENDING,
        SQL_KEEP_ADD,
        SQL_KEEP_FIND,
        SQL_KEEP_TRIM,
        SQL_PROMOTE_NEXT,
        SQL_PROMOTE_BATCHES,
        SQL_PROMOTE_DONE,
        SQL_OLDEST,
        SQL_OLDEST_SETTLED,
        SQL_REMOVE_SPANS,
        SQL_REMOVE_BATCH,
        SQL_KEEP_EXPIRE,
        SQL_PAGES,
        SQL_PAGES_FREE,
        SQL_VACUUM,
        SQL_META,
        _SQL_MAX,
} Sql;

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
                " flags, name, service, pod_uid, pod_name, pod_namespace, container_name, container_id)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
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
        [SQL_REMOVE_BATCH] = "DELETE FROM batch WHERE id = ?1",
        [SQL_KEEP_EXPIRE] = "DELETE FROM keep WHERE decided_ns < ?1",
        [SQL_PAGES] = "PRAGMA page_count",
        [SQL_PAGES_FREE] = "PRAGMA freelist_count",
        [SQL_VACUUM] = "PRAGMA incremental_vacuum(256)",
        [SQL_META] = "INSERT INTO meta(key, value) VALUES (?1, ?2)"
                     " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
};

struct Store {
        sqlite3 *sqlite;
        sqlite3_stmt *stmts[_SQL_MAX];
        int dir_fd;
        StoreLimits limits;
        uint64_t page_size;
        int64_t last_batch;
        uint64_t n_keep; /* rows of the keep table: mostly none, and then nobody need look */
        bool in_transaction;
};

static const char *const keep_reasons[] = { STORESCHEMA_KEEP_ERROR, STORESCHEMA_KEEP_SLOW };

/* A statement, ready to bind. It was reset when it was last used up. */
static int get(Store *store, Sql sql, sqlite3_stmt **ret) {
        if (!store->stmts[sql]) {
                int r = sqlite3_prepare_v3(store->sqlite, sql_text[sql], -1, SQLITE_PREPARE_PERSISTENT,
                                           store->stmts + sql, NULL);
                if (r != SQLITE_OK)
                        return MIN(storefile_errno(r), -1);
        }

        *ret = store->stmts[sql];
        return 0;
}

/* 1 with a row (the caller resets), 0 at the end, or a negative errno. */
static int step(sqlite3_stmt *stmt) {
        int r = sqlite3_step(stmt);

        if (r == SQLITE_ROW)
                return 1;
        (void) sqlite3_reset(stmt);
        return r == SQLITE_DONE ? 0 : storefile_errno(r);
}

static void bind_id(sqlite3_stmt *stmt, int at, const uint8_t *id, int size) {
        (void) sqlite3_bind_blob(stmt, at, id, size, SQLITE_STATIC);
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *s) {
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

static void bind_number(sqlite3_stmt *stmt, int at, uint64_t n) {
        (void) sqlite3_bind_int64(stmt, at, (sqlite3_int64) n);
}

/* Runs a statement without rows, or the first row's first column into @ret. Parameters are bound already. */
static int run(Store *store, Sql sql, int64_t *ret) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, sql, &stmt);
        if (r < 0)
                return r;
        r = step(stmt);
        if (r > 0) {
                if (ret)
                        *ret = sqlite3_column_int64(stmt, 0);
                (void) sqlite3_reset(stmt);
        }
        return r;
}

static int run_id(Store *store, Sql sql, int64_t id) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, id);
        return run(store, sql, NULL);
}

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
        int64_t page_size, n_keep;
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
                r = get_number(store->sqlite, "SELECT seq FROM sqlite_sequence WHERE name = 'batch'",
                               &store->last_batch);
        if (r < 0)
                return r;
        store->page_size = (uint64_t) page_size;
        store->n_keep = (uint64_t) n_keep;

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

const char *store_error(const Store *store) {
        return sqlite3_errmsg(store->sqlite);
}

int store_begin(Store *store) {
        int r;

        assert(!store->in_transaction);

        r = run(store, SQL_BEGIN, NULL);
        if (r == 0)
                store->in_transaction = true;
        return r;
}

int store_commit(Store *store) {
        int r;

        assert(store->in_transaction);

        r = run(store, SQL_COMMIT, NULL);
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
                (void) run(store, SQL_ROLLBACK, NULL);
        (void) get_number(store->sqlite, "SELECT count(*) FROM keep", (int64_t *) &store->n_keep);
}

static int run_name(Store *store, Sql sql, const char *name) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        return run(store, sql, NULL);
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

int store_span_add(Store *store, int64_t batch, const IngestRow *row) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_SPAN_ADD, &stmt);
        if (r < 0)
                return r;

        (void) sqlite3_bind_int64(stmt, 1, batch);
        bind_id(stmt, 2, row->trace_id, sizeof(row->trace_id));
        bind_id(stmt, 3, row->span_id, sizeof(row->span_id));
        if (row->has_parent)
                bind_id(stmt, 4, row->parent_id, sizeof(row->parent_id));
        else
                (void) sqlite3_bind_null(stmt, 4);
        bind_number(stmt, 5, row->start_ns);
        bind_number(stmt, 6, row->end_ns);
        (void) sqlite3_bind_int(stmt, 7, row->kind);
        (void) sqlite3_bind_int(stmt, 8, row->status);
        bind_number(stmt, 9, row->flags);
        bind_text(stmt, 10, row->name);
        bind_text(stmt, 11, row->service);
        bind_text(stmt, 12, row->pod_uid);
        bind_text(stmt, 13, row->pod_name);
        bind_text(stmt, 14, row->pod_namespace);
        bind_text(stmt, 15, row->container_name);
        bind_text(stmt, 16, row->container_id);
        return step(stmt);
}

int store_batch_add(Store *store, const StoreBatch *batch, int state, const uint8_t *traces) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_BATCH_ADD, &stmt);
        if (r < 0)
                return r;

        (void) sqlite3_bind_int64(stmt, 1, batch->id);
        bind_number(stmt, 2, batch->received_ns);
        (void) sqlite3_bind_int(stmt, 3, state);
        bind_number(stmt, 4, batch->n_spans);
        bind_number(stmt, 5, batch->size);
        (void) sqlite3_bind_blob64(stmt, 6, traces, batch->size, SQLITE_STATIC);
        return step(stmt);
}

static void read_batch_row(sqlite3_stmt *stmt, StoreBatch *ret) {
        *ret = (StoreBatch){
                .id = sqlite3_column_int64(stmt, 0),
                .received_ns = (uint64_t) sqlite3_column_int64(stmt, 1),
                .n_spans = (size_t) sqlite3_column_int64(stmt, 2),
        };
}

int store_pending_list(Store *store, size_t max, StoreBatch *ret) {
        sqlite3_stmt *stmt;
        int r, n = 0;

        r = get(store, SQL_PENDING, &stmt);
        if (r < 0)
                return r;
        bind_number(stmt, 1, MIN(max, (size_t) STORE_LIST_MAX));
        while ((r = step(stmt)) > 0) {
                read_batch_row(stmt, ret + n);
                ret[n++].size = (size_t) sqlite3_column_int64(stmt, 3);
        }
        return r < 0 ? r : n;
}

int store_batch_read(Store *store, int64_t id, int (*fn)(const uint8_t *data, size_t size, void *userdata),
                     void *userdata) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_BATCH_READ, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, id);
        r = step(stmt);
        if (r == 0)
                return -ENOENT;
        if (r < 0)
                return r;

        r = fn(sqlite3_column_blob(stmt, 0), (size_t) sqlite3_column_bytes(stmt, 0), userdata);
        (void) sqlite3_reset(stmt);
        return r;
}

int store_batch_set_state(Store *store, int64_t id, int state) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_BATCH_STATE, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int(stmt, 2, state);
        return run_id(store, SQL_BATCH_STATE, id);
}

int store_keep_add(Store *store, const uint8_t *trace_id, const char *reason, uint64_t now_ns) {
        sqlite3_stmt *stmt;
        int r;

        if (store->n_keep >= STORE_KEEP_MAX) {
                r = run_id(store, SQL_KEEP_TRIM, STORE_KEEP_MAX / 16);
                if (r < 0)
                        return r;
                store->n_keep -= MIN((uint64_t) sqlite3_changes(store->sqlite), store->n_keep);
        }

        r = get(store, SQL_KEEP_ADD, &stmt);
        if (r < 0)
                return r;
        bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        bind_text(stmt, 2, reason);
        bind_number(stmt, 3, now_ns);
        r = step(stmt);
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

        r = get(store, SQL_KEEP_FIND, &stmt);
        if (r < 0)
                return r;
        bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        r = step(stmt);
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

        r = get(store, SQL_PROMOTE_NEXT, &stmt);
        if (r < 0)
                return r;
        r = step(stmt);
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

        r = get(store, SQL_PROMOTE_BATCHES, &stmt);
        if (r < 0)
                return r;
        bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        bind_number(stmt, 2, max);
        while ((r = step(stmt)) > 0)
                ret[n++] = sqlite3_column_int64(stmt, 0);
        return r < 0 ? r : n;
}

int store_promote_done(Store *store, const uint8_t *trace_id) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_PROMOTE_DONE, &stmt);
        if (r < 0)
                return r;
        bind_id(stmt, 1, trace_id, TRACECONTEXT_TRACE_ID_SIZE);
        return step(stmt);
}

/* The first batch after @after. 1, 0 where there is none, or a negative errno. */
static int oldest(Store *store, Sql sql, int64_t after, StoreBatch *ret, int *ret_state) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, after);
        r = step(stmt);
        if (r <= 0)
                return r;

        read_batch_row(stmt, ret);
        *ret_state = sqlite3_column_int(stmt, 3);
        (void) sqlite3_reset(stmt);
        return 1;
}

static int pages(Store *store, uint64_t *ret_all, uint64_t *ret_used) {
        int64_t n_all = 0, n_free = 0;
        int r;

        r = run(store, SQL_PAGES, &n_all);
        if (r >= 0)
                r = run(store, SQL_PAGES_FREE, &n_free);
        if (r < 0)
                return r;

        *ret_all = (uint64_t) n_all * store->page_size;
        *ret_used = (uint64_t) (n_all - MIN(n_free, n_all)) * store->page_size;
        return 0;
}

static bool is_old(const Store *store, uint64_t received_ns, uint64_t now_ns) {
        return now_ns > received_ns && now_ns - received_ns > store->limits.max_age_ns;
}

int store_retain_due(Store *store, uint64_t now_ns) {
        uint64_t all, used;
        StoreBatch batch;
        int state, r;

        r = pages(store, &all, &used);
        if (r < 0)
                return r;
        if (used > store->limits.max_size || (all > store->limits.max_size && all > used))
                return 1;

        r = oldest(store, SQL_OLDEST, 0, &batch, &state);
        if (r <= 0)
                return r;
        return is_old(store, batch.received_ns, now_ns);
}

static bool is_spared(int64_t id, const int64_t *spare, size_t n_spare) {
        for (size_t i = 0; i < n_spare; i++)
                if (spare[i] == id)
                        return true;
        return false;
}

/* Chooses what goes next, skipping what is spared. 1 with a batch, 0 where nothing has to or may go. */
static int choose(Store *store, uint64_t now_ns, const int64_t *spare, size_t n_spare, StoreBatch *ret,
                  int *ret_state) {
        static const Sql order[] = { SQL_OLDEST_SETTLED, SQL_OLDEST };
        uint64_t all, used;
        int64_t after = 0;
        int r;

        while ((r = oldest(store, SQL_OLDEST, after, ret, ret_state)) > 0) {
                if (!is_old(store, ret->received_ns, now_ns))
                        break;
                if (!is_spared(ret->id, spare, n_spare))
                        return 1;
                after = ret->id;
        }
        if (r < 0)
                return r;

        r = pages(store, &all, &used);
        if (r < 0 || used <= store->limits.max_size)
                return r;

        for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
                after = 0;
                while ((r = oldest(store, order[i], after, ret, ret_state)) > 0) {
                        if (!is_spared(ret->id, spare, n_spare))
                                return 1;
                        after = ret->id;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int store_retain(Store *store, uint64_t now_ns, const int64_t *spare, size_t n_spare, StoreRetained *ret) {
        StoreRetained retained = {};
        uint64_t all, used;
        int r;

        while (retained.n_batches < STORE_RETAIN_MAX) {
                StoreBatch batch;
                int state;

                r = choose(store, now_ns, spare, n_spare, &batch, &state);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;

                r = run_id(store, SQL_REMOVE_SPANS, batch.id);
                if (r == 0)
                        r = run_id(store, SQL_REMOVE_BATCH, batch.id);
                if (r < 0)
                        return r;

                retained.n_batches++;
                retained.n_spans += batch.n_spans;
                if (state == STORESCHEMA_STATE_PENDING)
                        retained.n_spans_pending += batch.n_spans;
        }
        retained.more = retained.n_batches == STORE_RETAIN_MAX;

        if (store->n_keep > 0 && now_ns > store->limits.max_age_ns) {
                r = run_id(store, SQL_KEEP_EXPIRE, (int64_t) (now_ns - store->limits.max_age_ns));
                if (r < 0)
                        return r;
                store->n_keep -= MIN((uint64_t) sqlite3_changes(store->sqlite), store->n_keep);
        }

        r = pages(store, &all, &used);
        if (r < 0)
                return r;
        /* Free pages are used again; the file shrinks only where it is larger than it may be. */
        if (all > store->limits.max_size && used < all) {
                sqlite3_stmt *stmt;

                r = get(store, SQL_VACUUM, &stmt);
                if (r < 0)
                        return r;
                while ((r = step(stmt)) > 0)
                        ;
                if (r < 0)
                        return r;
        }

        *ret = retained;
        return 0;
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

        r = get(store, SQL_META, &stmt);
        if (r < 0)
                return r;
        bind_text(stmt, 1, key);
        bind_text(stmt, 2, value);
        return step(stmt);
}

int store_meta_number(Store *store, const char *key, uint64_t value) {
        sqlite3_stmt *stmt;
        int r;

        r = get(store, SQL_META, &stmt);
        if (r < 0)
                return r;
        bind_text(stmt, 1, key);
        bind_number(stmt, 2, value);
        return step(stmt);
}
