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
#define COLLECT_STALE_NS    (3600 * NSEC_PER_SEC) /* dot files older than this are nobody's */

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
};

#define COLLECT_NULL \
        { .state_fd = -EBADF, .dir_fd = -EBADF, .inotify_fd = -EBADF, .source = LOOP_SOURCE_NULL }

/*
 * Makes the spool where there is none, takes its lock and watches it. Returns 0, -EBUSY where another podspand collects
 * it, or a negative errno.
 */
int collect_init(Collect *collect, Loop *loop, int state_fd, CollectFn on_change);
void collect_deinit(Collect *collect);

/* Is the watched directory still the one at STATE/spool? If not: collect_deinit(), collect_init(). */
bool collect_current(const Collect *collect);

/* Reads the directory anew. Returns 0 or a negative errno. */
int collect_scan(Collect *collect);

/* The next name of the last scan, or NULL. */
const char *collect_next(Collect *collect);
bool collect_empty(const Collect *collect);

/*
 * Reads the file @name, at most SPOOL_FILE_MAX bytes. Returns 0 with a buffer owned by the caller; -ENOENT (gone),
 * -EBADMSG where it is no spool file at all (a link, a directory, too large), -ENOMEM or another negative errno.
 */
int collect_read(const Collect *collect, const char *name, uint8_t **ret, size_t *ret_size);

/* Removes the file; one that cannot be removed is not given again. Returns 0 or a negative errno. */
int collect_remove(Collect *collect, const char *name);
