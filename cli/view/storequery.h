#pragma once

/*
 * Queries of the store
 *
 * What each query of the command line needs of SQLite: preparing, stepping, binding by name, columns. Values are always
 * bound, never pasted. Bound text is borrowed until the statement is reset.
 */

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include "util.h"

static inline void storequery_finalizep(sqlite3_stmt **stmt) {
        (void) sqlite3_finalize(*stmt);
}
#define _cleanup_stmt_ _cleanup_(storequery_finalizep)

/* The negative errno of an error of SQLite's. */
int storequery_errno(int sqlite_error);

/* Returns 0 with @ret owned by the caller (_cleanup_stmt_), or a negative errno. */
int storequery_prepare(sqlite3 *sqlite, const char *sql, sqlite3_stmt **ret);

/* 1 with a row, 0 at the end, or a negative errno. */
int storequery_step(sqlite3_stmt *stmt);

/* Binds the parameter @name, if the statement has it. NULL text stays NULL. */
void storequery_text(sqlite3_stmt *stmt, const char *name, const char *value);
void storequery_u64(sqlite3_stmt *stmt, const char *name, uint64_t value);
void storequery_blob(sqlite3_stmt *stmt, const char *name, const void *value, size_t size);

/* Columns: NULL is "" and 0. Text is valid until the next step. */
const char *storequery_column_text(sqlite3_stmt *stmt, int column);
uint64_t storequery_column_u64(sqlite3_stmt *stmt, int column);

/* Copies an id column; -EBADMSG if it has another size. */
int storequery_column_id(sqlite3_stmt *stmt, int column, uint8_t *ret, size_t size);

/* How a person names a pod: does the row @t have the NAME, NAMESPACE/NAME or UID that is bound as :pod? */
#define STOREQUERY_POD_MATCHES(t)                                           \
        "(CASE WHEN instr(:pod, '/') > 0"                                   \
        " THEN " t ".pod_namespace = substr(:pod, 1, instr(:pod, '/') - 1)" \
        " AND " t ".pod_name = substr(:pod, instr(:pod, '/') + 1)"          \
        " ELSE " t ".pod_name = :pod OR " t ".pod_uid = :pod END)"
