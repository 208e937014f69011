/*
 * synchronous=NORMAL: in WAL mode a commit is then a write without fsync(2); the disk is waited for at checkpoints
 * alone, once in CHECKPOINT_PAGES. The node's disk may be etcd's, and each fsync there is felt. What a crash of
 * podspand leaves is complete, the kernel has it; what a crash of the whole node takes is the last seconds, as it takes
 * the spool, which is on a tmpfs. OFF would save little more and could damage the file.
 */

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "clk.h"
#include "storefile.h"
#include "storeschema.h"

#define LOCK_FILE        "podspand.lock"
#define ASIDE            STORESCHEMA_FILE ".corrupt-"
#define CHECKPOINT_PAGES "4096" /* of 4 KiB */
#define CACHE_KIB        "8192"
#define WAL_LIMIT        "33554432" /* bytes the WAL file may keep after a checkpoint */
#define BUSY_MS          2000

int storefile_errno(int code) {
        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EUCLEAN;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_READONLY:
        case SQLITE_PERM:
                return -EROFS;
        case SQLITE_CANTOPEN:
                return -EACCES;
        default:
                return -EIO;
        }
}

int storefile_lock(int dir_fd, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;

        fd = openat(dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int rename_suffixed(int dir_fd, const char *to, const char *suffix) {
        char from_name[64], to_name[96];

        (void) snprintf(from_name, sizeof(from_name), "%s%s", STORESCHEMA_FILE, suffix);
        (void) snprintf(to_name, sizeof(to_name), "%s%s", to, suffix);
        if (renameat(dir_fd, from_name, dir_fd, to_name) < 0)
                return errno == ENOENT ? 0 : -errno;
        return 0;
}

/* A file that is damaged again and again shall not fill the disk with its remains. */
static void remove_older(int dir_fd, const char *keep) {
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!dir) {
                close_fd(fd);
                return;
        }
        while ((entry = readdir(dir)))
                if (strncmp(entry->d_name, ASIDE, strlen(ASIDE)) == 0 &&
                    strncmp(entry->d_name, keep, strlen(keep)) != 0)
                        (void) unlinkat(dir_fd, entry->d_name, 0);
        (void) closedir(dir);
}

int storefile_move_aside(const char *dir, char **ret_aside) {
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_free_ char *aside = NULL;
        int r;

        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        if (asprintf(&aside, ASIDE "%" PRIu64, clk_realtime() / NSEC_PER_SEC) < 0) {
                aside = NULL;
                return -ENOMEM;
        }

        /* The WAL first: left behind, it would be taken for the new database's. */
        r = rename_suffixed(dir_fd, aside, "-wal");
        if (r == 0)
                r = rename_suffixed(dir_fd, aside, "-shm");
        if (r == 0)
                r = rename_suffixed(dir_fd, aside, "");
        if (r < 0)
                return r;
        remove_older(dir_fd, aside);

        *ret_aside = TAKE_PTR(aside);
        return 0;
}

static int get_number(sqlite3 *sqlite, const char *sql, int64_t *ret) {
        sqlite3_stmt *stmt = NULL;
        int r, n;

        r = sqlite3_prepare_v2(sqlite, sql, -1, &stmt, NULL);
        if (r != SQLITE_OK)
                return r;
        n = sqlite3_step(stmt);
        if (n == SQLITE_ROW)
                *ret = sqlite3_column_int64(stmt, 0);
        r = sqlite3_finalize(stmt);
        return r == SQLITE_OK ? n : r;
}

/* Before anything else touches the file: auto_vacuum can be set in an empty database only. */
static const char setup_sql[] = "PRAGMA auto_vacuum = INCREMENTAL;"
                                "PRAGMA journal_mode = WAL;"
                                "PRAGMA synchronous = NORMAL;"
                                "PRAGMA wal_autocheckpoint = " CHECKPOINT_PAGES ";"
                                "PRAGMA journal_size_limit = " WAL_LIMIT ";"
                                "PRAGMA cache_size = -" CACHE_KIB ";"
                                "PRAGMA trusted_schema = OFF;"
                                "PRAGMA temp_store = MEMORY;";

#define SCHEMA_INSERT "INSERT INTO meta VALUES ('schema', %d);"

static int create_schema(sqlite3 *sqlite) {
        char insert[sizeof(SCHEMA_INSERT) + 16];
        int r;

        (void) snprintf(insert, sizeof(insert), SCHEMA_INSERT, STORESCHEMA_VERSION);
        r = sqlite3_exec(sqlite, "BEGIN IMMEDIATE;" STORESCHEMA_SQL, NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(sqlite, insert, NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(sqlite, "COMMIT", NULL, NULL, NULL);
        return r;
}

static int migrate(sqlite3 *sqlite, int64_t version) {
        int r;

        r = sqlite3_exec(sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (r == SQLITE_OK && version == 1)
                r = sqlite3_exec(sqlite, STORESCHEMA_SQL_1_TO_2, NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(sqlite, STORESCHEMA_SQL_2_TO_3, NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(sqlite, "COMMIT", NULL, NULL, NULL);
        return r;
}

/* Returns STOREFILE_OPENED, STOREFILE_CREATED, -EUCLEAN where it is not ours to read, or a negative errno. */
static int check_schema(sqlite3 *sqlite) {
        int64_t n_tables = 0, version = 0;
        int r;

        r = get_number(sqlite, "SELECT count(*) FROM sqlite_schema", &n_tables);
        if (r != SQLITE_ROW)
                return storefile_errno(r);
        if (n_tables == 0) {
                r = create_schema(sqlite);
                return r == SQLITE_OK ? STOREFILE_CREATED : storefile_errno(r);
        }

        r = get_number(sqlite, "SELECT value FROM meta WHERE key = 'schema'", &version);
        if (r == SQLITE_ERROR) /* no such table */
                return -EUCLEAN;
        if (r != SQLITE_ROW && r != SQLITE_DONE)
                return storefile_errno(r);

        if (version == 1 || version == 2) {
                r = migrate(sqlite, version);
                return r == SQLITE_OK ? STOREFILE_OPENED : storefile_errno(r);
        }
        return version > STORESCHEMA_VERSION ? -EPROTO : version < STORESCHEMA_VERSION ? -EUCLEAN : STOREFILE_OPENED;
}

static int open_once(const char *path, sqlite3 **ret) {
        sqlite3 *sqlite = NULL;
        int r, persist = 1;

        r = sqlite3_open_v2(path, &sqlite,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                            NULL);
        if (r == SQLITE_OK) {
                (void) sqlite3_extended_result_codes(sqlite, 1);
                (void) sqlite3_busy_timeout(sqlite, BUSY_MS);
                r = sqlite3_exec(sqlite, setup_sql, NULL, NULL, NULL);
        }
        /* Readers without write permission need the WAL's files to be there, also when no podspand is. */
        if (r == SQLITE_OK)
                (void) sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
        r = r == SQLITE_OK ? check_schema(sqlite) : storefile_errno(r);
        if (r < 0) {
                (void) sqlite3_close_v2(sqlite);
                return r;
        }

        *ret = sqlite;
        return r;
}

int storefile_open(const char *dir, sqlite3 **ret, char **ret_aside) {
        _cleanup_free_ char *path = NULL, *aside = NULL, *real = NULL;
        sqlite3 *sqlite;
        int r;

        /* SQLite's NOFOLLOW means every part of the path; only the file itself is ours to be strict about. */
        real = realpath(dir, NULL);
        if (!real)
                return -errno;
        if (asprintf(&path, "%s/%s", real, STORESCHEMA_FILE) < 0) {
                path = NULL;
                return -ENOMEM;
        }

        r = open_once(path, &sqlite);
        if (r == -EUCLEAN) {
                r = storefile_move_aside(real, &aside);
                if (r < 0)
                        return r;
                r = open_once(path, &sqlite);
                if (r >= 0)
                        r = STOREFILE_REPLACED;
        }
        if (r < 0)
                return r;

        *ret = sqlite;
        if (r == STOREFILE_REPLACED)
                *ret_aside = TAKE_PTR(aside);
        return r;
}
