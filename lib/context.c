#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "context.h"

#define DIR_NAME          "context"
#define DIR_MODE          02750
#define READ_ATTEMPTS_MAX 3
#define DOT_AGE_SEC       3600 /* what is still being written after this was left by a dead writer */
#define LIVE_SWEEP_TO     (CONTEXT_LIVE_MAX / 16 * 15) /* a sweep is paid for by the calls until the next one */

static const struct {
        const char *dir;
        unsigned max;
} kinds[_CONTEXT_KIND_MAX] = {
        [CONTEXT_LIVE] = { "live", CONTEXT_LIVE_MAX },
        [CONTEXT_START] = { "start", CONTEXT_START_MAX },
        [CONTEXT_HOOK] = { "hook", CONTEXT_START_MAX },
};

/* Opens the directory @name in @dir_fd, which is made if it may be. A missing one is -ENOENT. */
static int open_dir(int dir_fd, const char *name, bool create) {
        _cleanup_close_ int fd = -EBADF;
        bool created = false;

        if (create) {
                created = mkdirat(dir_fd, name, 0750) == 0;
                if (!created && errno != EEXIST)
                        return -errno;
        }

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        /* mkdir(2) ignores setgid and obeys the umask. */
        if (created && fchmod(fd, DIR_MODE) < 0)
                return -errno;

        return TAKE_FD(fd);
}

int context_init(Context *context, int state_fd, bool create, CountersProducer producer, Counters *counters) {
        _cleanup_close_ int fd = -EBADF;

        assert(context);

        *context = (Context) CONTEXT_NULL;
        context->producer = producer;
        context->counters = counters;
        context->pid = (uint32_t) getpid();

        fd = open_dir(state_fd, DIR_NAME, create);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;

        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++) {
                int kind_fd = open_dir(fd, kinds[i].dir, create);

                if (kind_fd < 0 && kind_fd != -ENOENT) {
                        context_deinit(context);
                        return kind_fd;
                }
                context->kind_fd[i] = kind_fd < 0 ? -EBADF : kind_fd;
        }
        return 0;
}

void context_deinit(Context *context) {
        if (!context)
                return;

        context->pool = contextpool_free(context->pool);
        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++)
                context->kind_fd[i] = close_fd(context->kind_fd[i]);
}

/* Reads all of @name, NUL-terminated, into @ret of @size bytes. Returns the length, with the file's inode in @ret_inode
 * (may be NULL), or a negative errno. */
static int read_small(int dir_fd, const char *name, char *ret, size_t size, ino_t *ret_inode) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        size_t len = 0;

        /* A FIFO must not hold us up. */
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        for (;;) {
                ssize_t n = read(fd, ret + len, size - 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t) n;
                if (len == size - 1)
                        break;
        }

        if (ret_inode) {
                if (fstat(fd, &st) < 0)
                        return -errno;
                *ret_inode = st.st_ino;
        }
        ret[len] = '\0';
        return (int) len;
}

/*
 * Reads a live file. Its writer writes it again for another call once this call's name is gone, so what has been read
 * counts only if the name still shows it. Whoever takes a call over puts a file of its own there: then that one counts.
 */
static int read_shown(int dir_fd, const char *name, char *ret, size_t size) {
        struct stat st;
        ino_t inode;
        int r;

        for (int i = 0; i < READ_ATTEMPTS_MAX; i++) {
                r = read_small(dir_fd, name, ret, size, &inode);
                if (r < 0)
                        return r;
                if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (st.st_ino == inode)
                        return r;
        }
        return -EBUSY;
}

/* The state letter and the start time (fields 3 and 22) of a proc(5) stat file; the name in field 2 may hold anything.
 */
static int parse_stat(const char *s, char *ret_state, uint64_t *ret_start) {
        const char *p = strrchr(s, ')');
        char state;

        if (!p || p[1] != ' ' || p[2] == '\0')
                return -EBADMSG;
        p += 2;
        state = *p;

        for (int field = 3; field < 22; field++) {
                p = strchr(p, ' ');
                if (!p)
                        return -EBADMSG;
                p++;
        }

        if (util_parse_u64(p, strcspn(p, " \n"), ret_start) < 0)
                return -EBADMSG;
        *ret_state = state;
        return 0;
}

static int read_stat(uint32_t pid, char *ret_state, uint64_t *ret_start) {
        char path[32], stat[1024];
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
        r = read_small(AT_FDCWD, path, stat, sizeof(stat), NULL);
        return r < 0 ? r : parse_stat(stat, ret_state, ret_start);
}

bool context_writer_alive(const ContextRecord *record) {
        uint64_t start;
        char state;
        int r;

        assert(record);

        if (record->pid == 0)
                return true;

        r = read_stat(record->pid, &state, &start);
        if (r == 0)
                return state != 'Z' && state != 'X' && (record->pid_start == 0 || record->pid_start == start);
        if (r != -ENOENT && r != -ESRCH)
                return true;

        /* Without a /proc, or with one that hides others' processes, nobody can be called dead. */
        return read_stat(1, &state, &start) < 0;
}

void context_use_pool(Context *context) {
        if (!context->pool && context->kind_fd[CONTEXT_LIVE] >= 0)
                context->pool = contextpool_new(context->kind_fd[CONTEXT_LIVE], context->pid);
}

static int format(const ContextRecord *record, char text[static CONTEXT_FILE_MAX + 1]) {
        int len;

        len = context_format(record, text, CONTEXT_FILE_MAX + 1);
        if (len == -EMSGSIZE) {
                ContextRecord less = *record;

                /* Only what nobody looks for can be so long that the rest does not fit. */
                less.identity.image[0] = '\0';
                less.identity.runtime_handler[0] = '\0';
                len = context_format(&less, text, CONTEXT_FILE_MAX + 1);
        }
        return len;
}

static int write_file(Context *context, ContextKind kind, const char *name, const ContextRecord *record) {
        _cleanup_close_ int fd = -EBADF;
        char text[CONTEXT_FILE_MAX + 1], dot_name[CONTEXT_NAME_MAX + 48];
        int dir_fd = context->kind_fd[kind], len, r;

        if (dir_fd < 0)
                return -ENOENT;

        len = format(record, text);
        if (len < 0)
                return len;

        (void) snprintf(dot_name, sizeof(dot_name), ".%s.%" PRIu32 ".%" PRIx64, name, context->pid, record->seq);
        fd = openat(dir_fd, dot_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0 && errno == EEXIST && unlinkat(dir_fd, dot_name, 0) == 0)
                /* Left by a process that had our pid. */
                fd = openat(dir_fd, dot_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0)
                return -errno;

        /* The umask may be a runtime's; whom it keeps out misses the file, that is all. */
        (void) fchmod(fd, 0640);
        r = util_write_all(fd, text, (size_t) len);
        if (r == 0 && renameat(dir_fd, dot_name, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, dot_name, 0);
        return r;
}

static int count_written(const Context *context, int r) {
        counters_add(context->counters, context->producer, r < 0 ? COUNTERS_CONTEXT_FAILED : COUNTERS_CONTEXT_WRITTEN,
                     1);
        return r;
}

static int sweep_kind(Context *context, ContextKind kind, unsigned max);

/* Returns the pool's number for the file, 0 without a pool, or a negative errno. */
static int write_live(Context *context, const char *name, const ContextRecord *record) {
        char text[CONTEXT_FILE_MAX + 1];
        int len, r;

        if (context->pool) {
                len = format(record, text);
                if (len < 0)
                        return len;
                r = contextpool_show(context->pool, name, text, (size_t) len);
                if (r > 0)
                        return r;
        }
        return write_file(context, CONTEXT_LIVE, name, record);
}

int context_publish(Context *context, ContextRecord *record, ContextHandle *ret) {
        ContextHandle handle = {};
        char state;
        int r;

        assert(context);
        assert(record);
        assert(ret);

        if (context->pid_start == 0)
                (void) read_stat(context->pid, &state, &context->pid_start);

        if (context->n_live >= CONTEXT_LIVE_MAX) {
                (void) sweep_kind(context, CONTEXT_LIVE, LIVE_SWEEP_TO);
                if (context->n_live >= CONTEXT_LIVE_MAX)
                        return count_written(context, -EUSERS);
        }

        if (!context_operation_valid(record->operation))
                return count_written(context, -EINVAL);

        record->seq = ++context->seq;
        record->pid = context->pid;
        record->pid_start = context->pid_start;

        contextmatch_live_name(record, handle.name);

        r = write_live(context, handle.name, record);
        if (r >= 0) {
                context->n_live++;
                handle.pooled = r;
                *ret = handle;
                r = 0;
        }
        return count_written(context, r);
}

void context_retract(Context *context, ContextHandle *handle) {
        assert(context);
        assert(handle);

        /* What was swept is not counted any more; what still shows under this name is not written again. */
        if (handle->name[0] && context->kind_fd[CONTEXT_LIVE] >= 0) {
                if (unlinkat(context->kind_fd[CONTEXT_LIVE], handle->name, 0) == 0)
                        context->n_live -= MIN(context->n_live, 1U);
                else if (errno != ENOENT)
                        handle->pooled = 0;
        }
        handle->name[0] = '\0';

        if (handle->pooled > 0 && context->pool)
                contextpool_rest(context->pool, handle->pooled);
        handle->pooled = 0;
}

int context_adopt(Context *context, ContextRecord *record, ContextHandle *handle) {
        char state;
        int r;

        assert(context);
        assert(record);
        assert(handle);

        if (context->pid_start == 0)
                (void) read_stat(context->pid, &state, &context->pid_start);
        record->seq = ++context->seq;
        record->pid = context->pid;
        record->pid_start = context->pid_start;
        handle->pooled = 0;

        r = write_file(context, CONTEXT_LIVE, handle->name, record);
        if (r >= 0)
                context->n_live++;
        return count_written(context, r);
}

static int id_name(ContextKind kind, const char *id, char *ret, size_t size) {
        assert(kind == CONTEXT_START || kind == CONTEXT_HOOK);
        assert(id);

        if (!util_id_valid(id))
                return -EINVAL;
        (void) snprintf(ret, size, CONTEXTMATCH_VERSION "%s", id);
        return 0;
}

int context_put(Context *context, ContextKind kind, const char *id, ContextRecord *record) {
        char name[CONTEXT_NAME_MAX + 1];
        int r;

        assert(context);
        assert(record);

        r = id_name(kind, id, name, sizeof(name));
        if (r == 0) {
                record->seq = ++context->seq;
                r = write_file(context, kind, name, record);
        }
        /* Whoever finds no directory may make it and come again. */
        return r == -ENOENT ? r : count_written(context, r);
}

static int read_record(const Context *context, ContextKind kind, const char *name, ContextRecord *ret) {
        char text[CONTEXT_FILE_MAX + 2];
        int r;

        if (context->kind_fd[kind] < 0)
                return -ENOENT;

        r = kind == CONTEXT_LIVE ? read_shown(context->kind_fd[kind], name, text, sizeof(text))
                                 : read_small(context->kind_fd[kind], name, text, sizeof(text), NULL);
        if (r < 0)
                return r;

        r = context_parse(text, (size_t) r, ret);
        if (r < 0)
                counters_add(context->counters, context->producer, COUNTERS_INPUT_BAD, 1);
        return r;
}

int context_get(const Context *context, ContextKind kind, const char *id, ContextRecord *ret) {
        char name[CONTEXT_NAME_MAX + 1];
        int r;

        assert(context);
        assert(ret);

        r = id_name(kind, id, name, sizeof(name));
        return r < 0 ? r : read_record(context, kind, name, ret);
}

int context_read_live(const Context *context, const char *name, ContextRecord *ret) {
        assert(context);
        assert(name);
        assert(ret);

        return contextmatch_version_known(name) ? read_record(context, CONTEXT_LIVE, name, ret) : -ENOENT;
}

int context_remove(Context *context, ContextKind kind, const char *id) {
        char name[CONTEXT_NAME_MAX + 1];
        int r;

        assert(context);

        r = id_name(kind, id, name, sizeof(name));
        if (r < 0)
                return r;
        if (context->kind_fd[kind] < 0)
                return -ENOENT;
        return unlinkat(context->kind_fd[kind], name, 0) < 0 ? -errno : 0;
}

/* A descriptor of its own: the position in a directory belongs to the open file. NULL with -errno in @ret_error; 0:
 * none. */
static DIR *open_kind(const Context *context, ContextKind kind, int *ret_error) {
        int fd;
        DIR *dir;

        *ret_error = 0;
        if (context->kind_fd[kind] < 0)
                return NULL;

        fd = openat(context->kind_fd[kind], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                *ret_error = errno == ENOENT ? 0 : -errno;
                return NULL;
        }

        dir = fdopendir(fd);
        if (!dir) {
                *ret_error = -errno;
                close_fd(fd);
        }
        return dir;
}

static void closedirp(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

int context_list(const Context *context, ContextKind kind,
                 int (*fn)(const char *name, const ContextRecord *record, void *userdata), void *userdata) {
        _cleanup_(closedirp) DIR *dir = NULL;
        struct dirent *entry;
        unsigned n = 0;
        int r;

        assert(context);
        assert(kind < _CONTEXT_KIND_MAX);
        assert(fn);

        dir = open_kind(context, kind, &r);
        if (!dir)
                return r;

        while (n < kinds[kind].max && (entry = readdir(dir))) {
                ContextRecord record;

                if (!contextmatch_version_known(entry->d_name))
                        continue;
                n++;
                if (read_record(context, kind, entry->d_name, &record) < 0)
                        continue;

                r = fn(entry->d_name, &record, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

int context_reap(Context *context, void (*fn)(const ContextRecord *record, void *userdata), void *userdata) {
        _cleanup_(closedirp) DIR *dir = NULL;
        struct dirent *entry;
        int r;

        assert(context);
        assert(fn);

        dir = open_kind(context, CONTEXT_LIVE, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;

                if (!contextmatch_version_known(entry->d_name) ||
                    read_record(context, CONTEXT_LIVE, entry->d_name, &record) < 0 || context_writer_alive(&record))
                        continue;
                /* Who removes it has it, should two look at the same time. */
                if (unlinkat(context->kind_fd[CONTEXT_LIVE], entry->d_name, 0) < 0)
                        continue;
                counters_add(context->counters, context->producer, COUNTERS_CONTEXT_SWEPT, 1);
                fn(&record, userdata);
        }
        return 0;
}

typedef struct SweepEntry {
        struct timespec mtime;
        bool own; /* this process answers for it */
        char name[CONTEXT_NAME_MAX + 1];
} SweepEntry;

static int sweep_compare(const void *a, const void *b) {
        const SweepEntry *x = a, *y = b;

        if (x->mtime.tv_sec != y->mtime.tv_sec)
                return x->mtime.tv_sec < y->mtime.tv_sec ? -1 : 1;
        if (x->mtime.tv_nsec != y->mtime.tv_nsec)
                return x->mtime.tv_nsec < y->mtime.tv_nsec ? -1 : 1;
        return strcmp(x->name, y->name);
}

static void sweep_one(Context *context, ContextKind kind, const char *name) {
        if (unlinkat(context->kind_fd[kind], name, 0) == 0)
                counters_add(context->counters, context->producer, COUNTERS_CONTEXT_SWEPT, 1);
}

/* Removes the oldest of @n @entries, all that there are, until @max are left. */
static int sweep_oldest(Context *context, ContextKind kind, SweepEntry *entries, size_t n, unsigned max) {
        for (size_t i = 0; i < n; i++) {
                struct stat st;

                if (fstatat(context->kind_fd[kind], entries[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        entries[i].mtime = st.st_mtim;
        }

        qsort(entries, n, sizeof(*entries), sweep_compare);
        for (size_t i = 0; i < n - max; i++) {
                sweep_one(context, kind, entries[i].name);
                if (entries[i].own && context->n_live > 0)
                        context->n_live--;
        }
        return 0;
}

/* Removes what dead writers left, then the oldest until @max are left. */
static int sweep_kind(Context *context, ContextKind kind, unsigned max) {
        _cleanup_(closedirp) DIR *dir = NULL;
        _cleanup_free_ SweepEntry *entries = NULL;
        size_t n = 0, size = 0;
        unsigned n_own = 0;
        struct dirent *entry;
        int r;

        dir = open_kind(context, kind, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;
                bool own = false;

                if (entry->d_name[0] == '.') {
                        struct stat st;
                        ContextRecord owner = {};

                        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
                                continue;
                        owner.pid = contextpool_name_pid(entry->d_name);
                        if (owner.pid > 0 ? !context_writer_alive(&owner)
                                          : clk_realtime() / NSEC_PER_SEC > (uint64_t) st.st_mtim.tv_sec + DOT_AGE_SEC)
                                sweep_one(context, kind, entry->d_name);
                        continue;
                }
                if (!contextmatch_version_known(entry->d_name))
                        continue;

                if (kind == CONTEXT_LIVE) {
                        r = read_record(context, kind, entry->d_name, &record);
                        if (r == 0 && !context_writer_alive(&record)) {
                                sweep_one(context, kind, entry->d_name);
                                continue;
                        }
                        /* The name may be that of a process before this one. */
                        own = r == 0 ? record.pid == context->pid
                                     : contextmatch_name_of_pid(entry->d_name, context->pid);
                        n_own += own;
                }

                if (n == size) {
                        SweepEntry *more;

                        size = MAX(size * 2, (size_t) 64);
                        more = reallocarray(entries, size, sizeof(*entries));
                        if (!more)
                                return -ENOMEM;
                        entries = more;
                }
                entries[n].mtime = (struct timespec){};
                entries[n].own = own;
                (void) memcpy(entries[n].name, entry->d_name, strlen(entry->d_name) + 1);
                n++;
        }

        if (kind == CONTEXT_LIVE)
                context->n_live = n_own;
        return n > max ? sweep_oldest(context, kind, entries, n, max) : 0;
}

int context_sweep(Context *context) {
        int r = 0;

        assert(context);

        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++) {
                int k = sweep_kind(context, i, kinds[i].max);

                if (k < 0 && r == 0)
                        r = k;
        }
        return r;
}

/* The newest calls of the best level so far. */
typedef struct Candidates {
        ContextLevel level;
        size_t n;
        struct {
                uint64_t start_ns;
                uint64_t seq;
                TraceContext trace;
        } newest[CONTEXT_CANDIDATES_MAX];
        ContextRecord record; /* of the newest */
} Candidates;

static void candidates_add(Candidates *candidates, ContextLevel level, const ContextRecord *record) {
        size_t i;

        if (level > candidates->level)
                return;
        if (level < candidates->level) {
                candidates->level = level;
                candidates->n = 0;
        }

        for (i = 0; i < candidates->n; i++)
                if (record->start_ns > candidates->newest[i].start_ns ||
                    (record->start_ns == candidates->newest[i].start_ns && record->seq > candidates->newest[i].seq))
                        break;
        if (i == CONTEXT_CANDIDATES_MAX)
                return;

        candidates->n = MIN(candidates->n + 1, (size_t) CONTEXT_CANDIDATES_MAX);
        memmove(&candidates->newest[i + 1], &candidates->newest[i],
                (candidates->n - 1 - i) * sizeof(candidates->newest[0]));
        candidates->newest[i].start_ns = record->start_ns;
        candidates->newest[i].seq = record->seq;
        candidates->newest[i].trace = record->trace;
        if (i == 0)
                candidates->record = *record;
}

static int find_live(const Context *context, const ContextQuery *query, Candidates *candidates) {
        _cleanup_(closedirp) DIR *dir = NULL;
        const ContextKeys keys = contextmatch_keys(query->identity);
        ContextRecord writer = {};
        struct dirent *entry;
        bool alive = false;
        int r;

        dir = open_kind(context, CONTEXT_LIVE, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;
                ContextLevel level;

                if (!contextmatch_name_may(entry->d_name, &keys, query->operations) ||
                    read_record(context, CONTEXT_LIVE, entry->d_name, &record) < 0 ||
                    !contextmatch_operation_asked(query->operations, record.operation, strlen(record.operation)) ||
                    (query->time_ns != 0 && record.start_ns > query->time_ns))
                        continue;

                level = contextmatch_level(&record.identity, query->identity);
                if (level == CONTEXT_LEVEL_NONE)
                        continue;

                /* As a rule there is one writer: ask for it once. */
                if (writer.pid == 0 || writer.pid != record.pid || writer.pid_start != record.pid_start) {
                        writer.pid = record.pid;
                        writer.pid_start = record.pid_start;
                        alive = context_writer_alive(&record);
                }
                if (alive)
                        candidates_add(candidates, level, &record);
        }
        return 0;
}

int context_find(const Context *context, const ContextQuery *query, ContextMatch *ret) {
        Candidates candidates = { .level = CONTEXT_LEVEL_NONE };
        const char *ids[2];
        int r;

        assert(context);
        assert(query);
        assert(query->identity);
        assert(ret);

        r = find_live(context, query, &candidates);
        if (r < 0)
                return r;

        if (candidates.n > 0) {
                ret->found = candidates.n == 1 ? CONTEXT_FOUND_PARENT : CONTEXT_FOUND_CANDIDATES;
                ret->record = candidates.record;
                ret->n_candidates = candidates.n > 1 ? candidates.n : 0;
                for (size_t i = 0; i < ret->n_candidates; i++)
                        ret->candidates[i] = candidates.newest[i].trace;
                return 0;
        }

        ids[0] = query->identity->container_id;
        ids[1] = query->identity->sandbox_id;
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
                ContextRecord record;

                if (!*ids[i] || context_get(context, CONTEXT_START, ids[i], &record) < 0)
                        continue;

                ret->found = CONTEXT_FOUND_START;
                ret->record = record;
                ret->n_candidates = 0;
                return 0;
        }

        ret->found = CONTEXT_FOUND_NONE;
        ret->n_candidates = 0;
        return 0;
}
