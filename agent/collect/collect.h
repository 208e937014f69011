#pragma once

/*
 * Collect
 *
 * Watches STATE/spool and gives the names of finished files, the oldest first (docs/spool.md). inotify says that there
 * is something; what there is, only reading the directory says. So an overflow of inotify, a directory that was
 * replaced or a start with a full spool are no special cases. Everything in the directory is hostile.
 */

#include "loop.h"
#include "spool.h"

#define COLLECT_NAMES_MAX   16384                 /* names one scan takes in; the next scan brings the others */
#define COLLECT_IGNORED_MAX 256                   /* names that can neither be read nor removed */
#define COLLECT_STALE_NS    (3600 * NSEC_PER_SEC) /* dot files and other versions' files older than this are nobody's */
#define COLLECT_ASIDE       ".aside-"             /* and the name: what was set aside, for a person to look at */
#define COLLECT_ASIDE_NS    (24 * 3600 * NSEC_PER_SEC) /* it is removed after this time */
#define COLLECT_ASIDE_MAX   4                          /* files; with so many the next one is removed instead */

typedef struct Collect Collect;
typedef int (*CollectFn)(Collect *collect);

struct Collect {
        int state_fd; /* borrowed */
        int dir_fd;
        int inotify_fd;
        LoopSource source;
        Loop *loop;
        CollectFn on_change;               /* something may have come: scan within a while */
        char (*names)[SPOOL_NAME_MAX + 1]; /* sorted */
        size_t n_names;
        size_t n_allocated;
        size_t at;
        uint64_t ignored[COLLECT_IGNORED_MAX]; /* hashes */
        size_t n_ignored;
        size_t n_aside;   /* files set aside, as the last scan has found them */
        size_t n_foreign; /* removed and not yet asked for */
};

#define COLLECT_NULL \
        { .state_fd = -EBADF, .dir_fd = -EBADF, .inotify_fd = -EBADF, .source = LOOP_SOURCE_NULL }

/*
 * Makes the spool where there is none, takes its lock and watches it. Returns 0, -EBUSY where another podspand collects
 * it, -EPERM where others than its group can change it (dirowner.h), or another negative errno.
 */
int collect_init(Collect *collect, Loop *loop, int state_fd, CollectFn on_change);
void collect_deinit(Collect *collect);

/* Is the watched directory still the one at STATE/spool? If not: collect_deinit(), collect_init(). */
bool collect_current(const Collect *collect);

/*
 * Reads the directory anew. Removes what nobody can want: names that are no spool file's (a directory with something in
 * it goes under a dot name), and abandoned dot files. Returns 0 or a negative errno.
 */
int collect_scan(Collect *collect);

/* How many foreign names have been removed since the last call. */
size_t collect_take_foreign(Collect *collect);

/* The next name of the last scan, or NULL. */
const char *collect_next(Collect *collect);
/* Gives the name that collect_next() gave last once more with the next call. */
void collect_back(Collect *collect);
bool collect_empty(const Collect *collect);

/*
 * Reads the file @name, at most SPOOL_FILE_MAX bytes. Returns 0 with a buffer owned by the caller; -ENOENT (gone),
 * -EBADMSG where it is no spool file at all (a link, a directory, too large), -ENOMEM or another negative errno.
 */
int collect_read(const Collect *collect, const char *name, uint8_t **ret, size_t *ret_size);

/* Removes the file, or sets it aside where it is a directory with something in it. One that cannot be removed is not
 * given again. Returns 0 or a negative errno. */
int collect_remove(Collect *collect, const char *name);

/* Sets the file aside under COLLECT_ASIDE; with COLLECT_ASIDE_MAX there, as collect_remove(). */
int collect_set_aside(Collect *collect, const char *name);
