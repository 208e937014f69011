#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "contextfile.h"
#include "contextsweep.h"
#include "dirowner.h"

#define DIR_NAME       "context"
#define LIVE_SWEEP_TO  (CONTEXT_LIVE_MAX / 16 * 15) /* a sweep is paid for by the calls until the next one */
#define YOUNG_CHECK_NS (10 * NSEC_PER_MSEC)         /* has somebody removed the file of the young calls? */
#define YOUNG_RETRY_NS NSEC_PER_SEC                 /* is it to be had now? */

int context_init(Context *context, int state_fd, bool create, CountersProducer producer, Counters *counters) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        assert(context);

        *context = (Context) CONTEXT_NULL;
        context->producer = producer;
        context->counters = counters;
        context->pid = (uint32_t) getpid();

        r = dirowner_check(state_fd, DIROWNER_STICKY, 0);
        if (r < 0)
                return r;
        fd = contextfile_open_dir(state_fd, DIR_NAME, create);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;

        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++) {
                int kind_fd = contextfile_open_dir(fd, contextfile_dir(i), create);

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
        r = contextfile_read_small(AT_FDCWD, path, stat, sizeof(stat));
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

void context_use_young(Context *context) {
        assert(context);

        context->use_young = true;
}

/* Somebody may have removed the file, or another process has it. */
static void check_young(Context *context) {
        uint64_t now_ns = clk_monotonic(), age_ns = now_ns - context->young_checked_ns;

        if (context->young_checked_ns != 0 && age_ns < (context->young ? YOUNG_CHECK_NS : YOUNG_RETRY_NS))
                return;
        context->young_checked_ns = now_ns;

        if (context->young && contextyoung_removed(context->young))
                context->young = contextyoung_close(context->young);
        if (!context->young && context->kind_fd[CONTEXT_LIVE] >= 0 &&
            contextyoung_open(context->kind_fd[CONTEXT_LIVE], &context->young) == 0)
                context->n_young_opened++;
}

static int count_written(const Context *context, int r) {
        counters_add(context->counters, context->producer, r < 0 ? COUNTERS_CONTEXT_FAILED : COUNTERS_CONTEXT_WRITTEN,
                     1);
        return r;
}

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
                (void) contextsweep_kind(context, CONTEXT_LIVE, LIVE_SWEEP_TO);
                if (context->n_live >= CONTEXT_LIVE_MAX)
                        return -EUSERS;
        }

        contextmatch_live_name(record, name);
        r = contextfile_write(context, CONTEXT_LIVE, name, record);
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

        if (context->use_young)
                check_young(context);
        if (!context->young)
                return -ENOENT;
        len = contextfile_format(record, text);
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
        record->seq = ++context->seq;
        if (announce) {
                r = put_young(context, record);
                if (r >= 0) {
                        handle.young = r + 1;
                        handle.young_opened = context->n_young_opened;
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

/* Is it in the file of the young calls, as that is now? */
static bool is_young(const Context *context, const ContextHandle *handle) {
        return handle->young > 0 && context->young && handle->young_opened == context->n_young_opened;
}

static void clear_young(Context *context, ContextHandle *handle) {
        if (is_young(context, handle))
                contextyoung_clear(context->young, handle->young - 1);
        handle->young = 0;
}

int context_show(Context *context, ContextHandle *handle) {
        char text[CONTEXTYOUNG_TEXT_MAX];
        ContextRecord record;
        int r;

        assert(context);
        assert(handle);

        /* Not made anew: its file's name is to be the one that the announcement leads to. */
        r = is_young(context, handle) ? contextyoung_get(context->young, handle->young - 1, text, sizeof(text))
                                      : -ENOENT;
        if (r >= 0)
                r = context_parse(text, (size_t) r, &record);
        if (r >= 0)
                r = publish(context, &record, handle);
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
        record->seq = ++context->seq;

        r = contextfile_write(context, CONTEXT_LIVE, handle->name, record);
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
                r = contextfile_write(context, kind, name, record);
        }
        /* Whoever finds no directory may make it and come again. */
        return r == -ENOENT ? r : count_written(context, r);
}

int context_get(const Context *context, ContextKind kind, const char *id, ContextRecord *ret) {
        char name[CONTEXT_NAME_MAX + 1];
        int r;

        assert(context);
        assert(ret);

        r = id_name(kind, id, name, sizeof(name));
        return r < 0 ? r : contextfile_read(context, kind, name, ret);
}

int context_get_start(const Context *context, const char *id, const Identity *asker, ContextRecord *ret) {
        ContextRecord record;
        int r;

        assert(asker);
        assert(ret);

        r = context_get(context, CONTEXT_START, id, &record);
        if (r < 0)
                return r;
        if (contextmatch_contradicts(&record.identity, asker))
                return -ENOENT;
        *ret = record;
        return 0;
}

int context_read_live(const Context *context, const char *name, ContextRecord *ret) {
        assert(context);
        assert(name);
        assert(ret);

        return contextmatch_version_known(name) ? contextfile_read(context, CONTEXT_LIVE, name, ret) : -ENOENT;
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
        ContextYoungs young = {};
        unsigned n = 0;
        int r;

        assert(context);
        assert(kind < _CONTEXT_KIND_MAX);
        assert(fn);

        if (kind == CONTEXT_LIVE) {
                (void) contextfile_each_young(context, list_young, &listing, &young);
                if (listing.result < 0)
                        return listing.result;
        }

        dir = contextfile_open_kind(context, kind, &r);
        if (!dir)
                return r;

        while (n < contextfile_max(kind) && (entry = readdir(dir))) {
                ContextRecord record;

                if (!contextmatch_version_known(entry->d_name))
                        continue;
                n++;
                if (contextfile_read(context, kind, entry->d_name, &record) < 0 ||
                    contextfile_young_seen(&young, &record))
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
        ContextYoungs young;

        assert(context);
        assert(fn);

        return contextfile_each_young(context, list_named, &listing, &young);
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
        ContextYoungs young;
        int r;

        (void) contextfile_each_young(context, search_young, &search, &young);

        dir = contextfile_open_kind(context, CONTEXT_LIVE, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;

                if (contextmatch_name_may(entry->d_name, &keys, query->operations) &&
                    contextfile_read(context, CONTEXT_LIVE, entry->d_name, &record) == 0)
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

                if (!*ids[i] || context_get_start(context, ids[i], query->identity, &record) < 0)
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
