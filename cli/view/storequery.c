#include <string.h>
#include "storequery.h"

int storequery_errno(int sqlite_error) {
        switch (sqlite_error & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return -EACCES;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EBADMSG;
        default:
                return -EIO;
        }
}

int storequery_prepare(sqlite3 *sqlite, const char *sql, sqlite3_stmt **ret) {
        int r = sqlite3_prepare_v2(sqlite, sql, -1, ret, NULL);

        return r == SQLITE_OK ? 0 : storequery_errno(r);
}

int storequery_step(sqlite3_stmt *stmt) {
        int r = sqlite3_step(stmt);

        if (r == SQLITE_ROW)
                return 1;
        return r == SQLITE_DONE ? 0 : storequery_errno(r);
}

void storequery_text(sqlite3_stmt *stmt, const char *name, const char *value) {
        int i = sqlite3_bind_parameter_index(stmt, name);

        if (i > 0 && value)
                (void) sqlite3_bind_text(stmt, i, value, -1, SQLITE_STATIC);
}

void storequery_u64(sqlite3_stmt *stmt, const char *name, uint64_t value) {
        int i = sqlite3_bind_parameter_index(stmt, name);

        if (i > 0)
                (void) sqlite3_bind_int64(stmt, i, value > INT64_MAX ? INT64_MAX : (sqlite3_int64) value);
}

void storequery_blob(sqlite3_stmt *stmt, const char *name, const void *value, size_t size) {
        int i = sqlite3_bind_parameter_index(stmt, name);

        if (i > 0)
                (void) sqlite3_bind_blob(stmt, i, value, (int) size, SQLITE_STATIC);
}

const char *storequery_column_text(sqlite3_stmt *stmt, int column) {
        const char *s = (const char *) sqlite3_column_text(stmt, column);

        return s ? s : "";
}

uint64_t storequery_column_u64(sqlite3_stmt *stmt, int column) {
        return (uint64_t) sqlite3_column_int64(stmt, column);
}

int storequery_column_id(sqlite3_stmt *stmt, int column, uint8_t *ret, size_t size) {
        const void *blob = sqlite3_column_blob(stmt, column);

        if (!blob || (size_t) sqlite3_column_bytes(stmt, column) != size)
                return -EBADMSG;
        memcpy(ret, blob, size);
        return 0;
}
