#pragma once

/*
 * State directory
 *
 * STATE as podspand makes it: its counters file, the spool and its watch. STATE is on a tmpfs that others can empty, so
 * all of it can be made again while podspand runs. The context directories decide whose child a span is: podspand,
 * which is not root, never makes them.
 */

#include "collect.h"
#include "counters.h"

typedef struct StateDir {
        const char *path; /* borrowed */
        int fd;
        Counters *counters;
        Collect collect;
} StateDir;

#define STATEDIR_NULL \
        { .fd = -EBADF, .collect = COLLECT_NULL }

/* Makes a directory of mode @mode where there is none (its parent has to be there) and opens it. 0 or a negative errno.
 */
int statedir_make(const char *path, mode_t mode, int *ret_fd);

/* Makes and opens all of it. Returns 0 or a negative errno, logged; then only statedir_close() may follow. */
int statedir_open(StateDir *state, const char *path, Loop *loop, CollectFn on_change);
void statedir_close(StateDir *state);

/* Is what is open still what is there under its name? */
bool statedir_current(const StateDir *state);
