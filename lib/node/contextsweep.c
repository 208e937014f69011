#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "contextfile.h"
#include "contextsweep.h"

#define DOT_AGE_SEC 3600 /* what is still being written after this was left by a dead writer */

typedef struct Reaping {
        Context *context;
        ContextYoung *young;
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
        contextyoung_clear(reaping->young, slot);
        counters_add(context->counters, context->producer, COUNTERS_CONTEXT_SWEPT, 1);
        reaping->fn(record, reaping->userdata);
        return 0;
}

/* They are for who has the file. */
static void reap_all_young(Reaping *reaping) {
        _cleanup_(contextyoung_closep) ContextYoung *opened = NULL;
        Context *context = reaping->context;
        int dir_fd = context->kind_fd[CONTEXT_LIVE];
        ContextYoungs young;

        if (!context->young && context->use_young && dir_fd >= 0 && faccessat(dir_fd, CONTEXTYOUNG_NAME, F_OK, 0) == 0)
                (void) contextyoung_open(dir_fd, &opened);
        reaping->young = context->young ? context->young : opened;
        if (!reaping->young)
                return;
        (void) contextfile_each_young(context, reap_young, reaping, &young);
        /* What cannot be read is nobody's. */
        contextyoung_clear_left(reaping->young);
}

int contextsweep_reap(Context *context, void (*fn)(const ContextRecord *record, void *userdata), void *userdata) {
        _cleanup_(closedirp) DIR *dir = NULL;
        Reaping reaping = { .context = context, .fn = fn, .userdata = userdata };
        struct dirent *entry;
        int r;

        assert(context);
        assert(fn);

        reap_all_young(&reaping);

        dir = contextfile_open_kind(context, CONTEXT_LIVE, &r);
        if (!dir)
                return r;

        while ((entry = readdir(dir))) {
                ContextRecord record;

                if (!contextmatch_version_known(entry->d_name) ||
                    contextfile_read(context, CONTEXT_LIVE, entry->d_name, &record) < 0 ||
                    context_writer_alive(&record))
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

int contextsweep_kind(Context *context, ContextKind kind, unsigned max) {
        _cleanup_(closedirp) DIR *dir = NULL;
        _cleanup_free_ SweepEntry *entries = NULL;
        size_t n = 0, size = 0;
        unsigned n_own = 0;
        struct dirent *entry;
        int r;

        dir = contextfile_open_kind(context, kind, &r);
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
                        r = contextfile_read(context, kind, entry->d_name, &record);
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

int contextsweep_all(Context *context) {
        int r = 0;

        assert(context);

        for (size_t i = 0; i < _CONTEXT_KIND_MAX; i++) {
                int k = contextsweep_kind(context, i, contextfile_max(i));

                if (k < 0 && r == 0)
                        r = k;
        }
        return r;
}
