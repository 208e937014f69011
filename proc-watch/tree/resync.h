#pragma once

/*
 * Resync
 *
 * What runs already: container engines, serving shims and monitors come from the kernel side (source_scan()) as the
 * exec events that were missed, at the start and after losses. Their command lines are read from /proc here. Commands
 * that were under way stay unseen, they are over in a moment.
 */

#include "event.h"
#include "util.h"

/*
 * Adds the command line to @event, an exec event of a process that runs, whose program is called @file. Returns 0 with
 * what follows the event in @ret (the caller's), -ESRCH if it is another process by now, or another negative errno.
 */
int resync_complete(Event *event, const char *file, char **ret, size_t *ret_size);

/* Is the process @pid with this start no longer there? */
bool resync_gone(uint32_t pid, uint64_t start_ns);

/*
 * Reads a line of /proc/PID/stat (proc(5)): the name, and the start in nanoseconds since boot, of clock-tick precision.
 * Returns 0, or -EBADMSG.
 */
int resync_parse_stat(const char *s, size_t len, char ret_comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns);
