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

#define DIR_NAME      "context"
#define DIR_MODE      02750
#define DOT_AGE_SEC   3600 /* what is still being written after this was left by a dead writer */
#define LIVE_SWEEP_TO (CONTEXT_LIVE_MAX / 16 * 15) /* a sweep is paid for by the calls until the next one */

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

        context->young = contextyoung_close(context->young);
        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++)
                context->kind_fd[i] = close_fd(context->kind_fd[i]);
}

/* Reads all of @name, NUL-terminated, into @ret of @size bytes. Returns the length or a negative errno. */
static int read_small(int dir_fd, const char *name, char *ret, size_t size) {
        _cleanup_close_ int fd = -EBADF;
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

        ret[len] = '\0';
        return (int) len;
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
        r = read_small(AT_FDCWD, path, stat, sizeof(stat));
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

int context_use_young(Context *context) {
        assert(context);

        if (context->young)
                return 0;
        return context->kind_fd[CONTEXT_LIVE] < 0 ? -ENOENT
                                                  : contextyoung_open(context->kind_fd[CONTEXT_LIVE], &context->young);
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

static void set_writer(Context *context, ContextRecord *record) {
        char state;

        if (context->pid_start == 0)
                (void) read_stat(context->pid, &state, &context->pid_start);
        record->pid = context->pid;
        record->pid_start = context->pid_start;
}

/* Writes the live file of @record, which is filled. */
static int publish(Context *context, const ContextRecord *record, ContextHandle *handle) {
        char name[CONTEXT_NAME_MAX + 1];
        int r;

        if (context->n_live >= CONTEXT_LIVE_MAX) {
                (void) sweep_kind(context, CONTEXT_LIVE, LIVE_SWEEP_TO);
                if (context->n_live >= CONTEXT_LIVE_MAX)
                        return -EUSERS;
        }

        contextmatch_live_name(record, name);
        r = write_file(context, CONTEXT_LIVE, name, record);
        if (r < 0)
                return r;
        context->n_live++;
        (void) memcpy(handle->name, name, sizeof(name));
        return 0;
}

/* Puts @record among the young calls. Returns its slot or a negative errno. */
static int put_young(Context *context, const ContextRecord *record) {
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        if (!context->young)
                return -ENOENT;
        len = format(record, text);
        return len < 0 ? len : contextyoung_put(context->young, record->seq, text, (size_t) len);
}

static int begin(Context *context, ContextRecord *record, bool announce, ContextHandle *ret) {
        ContextHandle handle = {};
        int r = -ENOENT;

        assert(context);
        assert(record);
        assert(ret);

        if (!context_operation_valid(record->operation))
                return count_written(context, -EINVAL);

        set_writer(context, record);
        record->seq = handle.seq = ++context->seq;
        if (announce) {
                r = put_young(context, record);
                if (r >= 0) {
                        handle.young = r + 1;
                        r = 0;
                }
        }
        if (r < 0)
                r = publish(context, record, &handle);
        if (r >= 0)
                *ret = handle;
        return count_written(context, r);
}

int context_publish(Context *context, ContextRecord *record, ContextHandle *ret) {
        return begin(context, record, /* announce= */ false, ret);
}

int context_announce(Context *context, ContextRecord *record, ContextHandle *ret) {
        return begin(context, record, /* announce= */ true, ret);
}

static void clear_young(Context *context, ContextHandle *handle) {
        if (handle->young > 0 && context->young)
                contextyoung_clear(context->young, handle->young - 1);
        handle->young = 0;
}

int context_show(Context *context, ContextRecord *record, ContextHandle *handle) {
        int r;

        assert(context);
        assert(record);
        assert(handle);
        assert(handle->young > 0);

        set_writer(context, record);
        record->seq = handle->seq;
        r = publish(context, record, handle);
        if (r < 0)
                return count_written(context, r);
        /* Who looks finds it in one place at least: see context_list(). */
        clear_young(context, handle);
        return 0;
}

void context_retract(Context *context, ContextHandle *handle) {
        assert(context);
        assert(handle);

        clear_young(context, handle);
        /* What was swept is not counted any more. */
        if (handle->name[0] && context->kind_fd[CONTEXT_LIVE] >= 0 &&
            unlinkat(context->kind_fd[CONTEXT_LIVE], handle->name, 0) == 0)
                context->n_live -= MIN(context->n_live, 1U);
        handle->name[0] = '\0';
}

int context_adopt(Context *context, ContextRecord *record, ContextHandle *handle) {
        int r;

        assert(context);
        assert(record);
        assert(handle);

        set_writer(context, record);
        record->seq = handle->seq = ++context->seq;

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

        r = read_small(context->kind_fd[kind], name, text, sizeof(text));
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

/* The young calls that a listing has told of: between them and the files it may meet one twice. */
typedef struct Young {
        const Context *context;
        int (*fn)(int slot, const ContextRecord *record, void *userdata);
        void *userdata;
        struct {
                uint32_t pid;
                uint64_t seq;
        } seen[CONTEXTYOUNG_SLOTS];
        size_t n_seen;
} Young;

static bool young_seen(const Young *young, const ContextRecord *record) {
        for (size_t i = 0; i < young->n_seen; i++)
                if (record->seq > 0 && young->seen[i].pid == record->pid && young->seen[i].seq == record->seq)
                        return true;
        return false;
}

static int on_young(int slot, const char *text, size_t len, void *userdata) {
        Young *young = userdata;
        ContextRecord record;

        if (context_parse(text, len, &record) < 0) {
                counters_add(young->context->counters, young->context->producer, COUNTERS_INPUT_BAD, 1);
                return 0;
        }
        young->seen[young->n_seen].pid = record.pid;
        young->seen[young->n_seen++].seq = record.seq;
        return young->fn(slot, &record, young->userdata);
}

/*
 * To be called before the files are listed: a call that gets its file meanwhile is met once at least. A file of young
 * calls that cannot be read is none.
 */
static int young_each(const Context *context, int (*fn)(int slot, const ContextRecord *record, void *userdata),
                      void *userdata, Young *ret) {
        int r;

        *ret = (Young){ .context = context, .fn = fn, .userdata = userdata };
        if (context->kind_fd[CONTEXT_LIVE] < 0)
                return 0;
        r = contextyoung_each(context->kind_fd[CONTEXT_LIVE], on_young, ret);
        if (r == -EBADMSG)
                counters_add(context->counters, context->producer, COUNTERS_INPUT_BAD, 1);
        return r;
}

typedef struct Listing {
        int (*fn)(const char *name, const ContextRecord *record, void *userdata);
        void *userdata;
        int result;
} Listing;

static int list_young(int slot _unused_, const ContextRecord *record, void *userdata) {
        Listing *listing = userdata;

        listing->result = listing->fn(NULL, record, listing->userdata);
        return listing->result;
}

int context_list(const Context *context, ContextKind kind,
                 int (*fn)(const char *name, const ContextRecord *record, void *userdata), void *userdata) {
        _cleanup_(closedirp) DIR *dir = NULL;
        Listing listing = { .fn = fn, .userdata = userdata };
        struct dirent *entry;
        Young young = {};
        unsigned n = 0;
        int r;

        assert(context);
        assert(kind < _CONTEXT_KIND_MAX);
        assert(fn);

        if (kind == CONTEXT_LIVE) {
                (void) young_each(context, list_young, &listing, &young);
                if (listing.result < 0)
                        return listing.result;
        }

        dir = open_kind(context, kind, &r);
        if (!dir)
                return r;

        while (n < kinds[kind].max && (entry = readdir(dir))) {
                ContextRecord record;

                if (!contextmatch_version_known(entry->d_name))
                        continue;
                n++;
                if (read_record(context, kind, entry->d_name, &record) < 0 || young_seen(&young, &record))
                        continue;

                r = fn(entry->d_name, &record, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int list_named(int slot _unused_, const ContextRecord *record, void *userdata) {
        Listing *listing = userdata;
        char name[CONTEXT_NAME_MAX + 1];

        contextmatch_live_name(record, name);
        return listing->fn(name, record, listing->userdata);
}

int context_list_young(const Context *context, int (*fn)(const char *name, const ContextRecord *record, void *userdata),
                       void *userdata) {
        Listing listing = { .fn = fn, .userdata = userdata };
        Young young;

        assert(context);
        assert(fn);

        return young_each(context, list_named, &listing, &young);
}

uint64_t context_changed_ns(const Context *context) {
        static const char *const names[] = { ".", CONTEXTYOUNG_NAME };
        uint64_t changed_ns = 0;
        struct stat st;

        assert(context);

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (context->kind_fd[CONTEXT_LIVE] >= 0 &&
                    fstatat(context->kind_fd[CONTEXT_LIVE], names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
                        changed_ns = MAX(changed_ns,
                                         (uint64_t) st.st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t) st.st_mtim.tv_nsec);
        return changed_ns;
}

typedef struct Reaping {
        Context *context;
        void (*fn)(const ContextRecord *record, void *userdata);
        void *userdata;
} Reaping;

static int reap_young(int slot, const ContextRecord *record, void *userdata) {
        Reaping *reaping = userdata;
        Context *context = reaping->context;
        char name[CONTEXT_NAME_MAX + 1];

        if (context_writer_alive(record))
                return 0;
        /* It may have had its file for a moment. */
        contextmatch_live_name(record, name);
        (void) unlinkat(context->kind_fd[CONTEXT_LIVE], name, 0);
        contextyoung_clear(context->young, slot);
        counters_add(context->counters, context->producer, COUNTERS_CONTEXT_SWEPT, 1);
        reaping->fn(record, reaping->userdata);
        return 0;
}

int context_reap(Context *context, void (*fn)(const ContextRecord *record, void *userdata), void *userdata) {
        _cleanup_(closedirp) DIR *dir = NULL;
        Reaping reaping = { .context = context, .fn = fn, .userdata = userdata };
        struct dirent *entry;
        Young young;
        int r;

        assert(context);
        assert(fn);

        /* They are for who has the file; what it cannot read is nobody's. */
        if (context->young) {
                (void) young_each(context, reap_young, &reaping, &young);
                contextyoung_clear_left(context->young);
        }

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

                        if (strcmp(entry->d_name, CONTEXTYOUNG_NAME) != 0 &&
                            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) &&
                            clk_realtime() / NSEC_PER_SEC > (uint64_t) st.st_mtim.tv_sec + DOT_AGE_SEC)
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
                uint32_t pid;
                TraceContext trace;
        } newest[CONTEXT_CANDIDATES_MAX];
        ContextRecord record; /* of the newest */
} Candidates;

static void candidates_add(Candidates *candidates, ContextLevel level, const ContextRecord *record) {
        size_t i;

        if (level > candidates->level)
                return;
        /* It may have been met among the young ones already. */
        for (i = 0; record->seq > 0 && level == candidates->level && i < candidates->n; i++)
                if (candidates->newest[i].pid == record->pid && candidates->newest[i].seq == record->seq)
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
        candidates->newest[i].pid = record->pid;
        candidates->newest[i].trace = record->trace;
        if (i == 0)
                candidates->record = *record;
}

/* A search for the calls in flight that can have caused what was seen. */
typedef struct Search {
        const ContextQuery *query;
        Candidates *candidates;
        ContextRecord writer; /* asked for last */
        bool alive;           /* is it? */
} Search;

static void search_add(Search *search, const ContextRecord *record) {
        const ContextQuery *query = search->query;
        ContextLevel level;

        if (!contextmatch_operation_asked(query->operations, record->operation, strlen(record->operation)) ||
            (query->time_ns != 0 && record->start_ns > query->time_ns))
                return;

        level = contextmatch_level(&record->identity, query->identity);
        if (level == CONTEXT_LEVEL_NONE)
                return;

        /* As a rule there is one writer: ask for it once. */
        if (search->writer.pid == 0 || search->writer.pid != record->pid ||
            search->writer.pid_start != record->pid_start) {
                search->writer.pid = record->pid;
                search->writer.pid_start = record->pid_start;
                search->alive = context_writer_alive(record);
        }
        if (search->alive)
                candidates_add(search->candidates, level, record);
}

static int search_young(int slot _unused_, const ContextRecord *record, void *userdata) {
        search_add(userdata, record);
        return 0;
}

static int find_live(const Context *context, const ContextQuery *query, Candidates *candidates) {
        _cleanup_(closedirp) DIR *dir = NULL;
        const ContextKeys keys = contextmatch_keys(query->identity);
        Search search = { .query = query, .candidates = candidates };
        struct dirent *entry;
        Young young;
        int r;

        (void) young_each(context, search_young, &search, &young);

        dir = open_kind(context, CONTEXT_LIVE, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;

                if (contextmatch_name_may(entry->d_name, &keys, query->operations) &&
                    read_record(context, CONTEXT_LIVE, entry->d_name, &record) == 0)
                        search_add(&search, &record);
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
