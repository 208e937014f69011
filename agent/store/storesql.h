#pragma once

/*
 * The store's statements
 *
 * What store.c and storeretain.c share: the connection, every SQL statement there is, and how one is run. Nobody else
 * includes this.
 */

#include "store.h"

typedef enum Sql {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_FILE_KNOWN,
        SQL_FILE_ADD,
        SQL_FILE_FORGET,
        SQL_SPAN_ADD,
        SQL_DEATH_ADD,
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
        SQL_REMOVE_DEATHS,
        SQL_REMOVE_BATCH,
        SQL_KEEP_EXPIRE,
        SQL_PAGES,
        SQL_PAGES_FREE,
        SQL_VACUUM,
        SQL_META,
        SQL_META_FORGET_EXPORT,
        SQL_STOP_ADD,
        SQL_STOP_TRIM,
        SQL_STOP_EXPIRE,
        SQL_STOP_EXCUSES,
        SQL_UNDECIDED_ADD,
        SQL_UNDECIDED_NEXT,
        SQL_UNDECIDED_REMOVE,
        SQL_PRESSURE_ADD,
        SQL_PRESSURE_TRIM,
        SQL_PRESSURE_EXPIRE,
        SQL_LEDGER_ADD,
        SQL_LEDGER_SETTLE,
        _SQL_MAX,
} Sql;

struct Store {
        sqlite3 *sqlite;
        sqlite3_stmt *stmts[_SQL_MAX];
        int dir_fd;
        StoreLimits limits;
        uint64_t page_size;
        int64_t last_batch;
        uint64_t n_keep;      /* rows of the keep table: mostly none, and then nobody need look */
        uint64_t n_stop;      /* rows of the tables stop */
        uint64_t n_undecided; /* … and undecided */
        uint64_t n_pressure;  /* … and pressure */
        bool in_transaction;
};

/* A statement, prepared and ready to bind. 0 or a negative errno. */
int storesql_get(Store *store, Sql sql, sqlite3_stmt **ret);

/* 1 with a row (the caller resets), 0 at the end, or a negative errno. */
int storesql_step(sqlite3_stmt *stmt);

/* Runs a bound statement: its first row's first number into @ret (may be NULL). 1 with a row, 0, or a negative errno.
 */
int storesql_run(Store *store, Sql sql, int64_t *ret);
/* Likewise, with @id as its only parameter. */
int storesql_run_id(Store *store, Sql sql, int64_t id);

/* What is bound is borrowed until the statement has run. Text is cut at STORE_TEXT_MAX; NULL is NULL. */
void storesql_bind_id(sqlite3_stmt *stmt, int at, const uint8_t *id, int size);
void storesql_bind_text(sqlite3_stmt *stmt, int at, const char *s);
void storesql_bind_number(sqlite3_stmt *stmt, int at, uint64_t n);

/* A row that begins with id, received_ns, n_spans. */
void storesql_read_batch(sqlite3_stmt *stmt, StoreBatch *ret);
