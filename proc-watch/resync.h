#pragma once

/*
 * Resync
 *
 * What runs already: container engines, serving shims and monitors, read from /proc as the exec events that were
 * missed, at the start and after losses. Commands that were under way stay unseen, they are over in a moment.
 */

#include "event.h"
#include "util.h"

/* An exec event as the kernel side would have sent it; its process is to be tracked with @track_flags. */
typedef int (*ResyncFn)(void *userdata, const Event *event, const char *data, size_t size, uint32_t track_flags);

/* Reads /proc and calls @fn for each known long-lived program. 0, or a negative errno of /proc's or of @fn. */
int resync_scan(ResyncFn fn, void *userdata);

/* Is the process @pid with this start no longer there? */
bool resync_gone(uint32_t pid, uint64_t start_ns);

/*
 * Reads a line of /proc/PID/stat (proc(5)): the name, and the start in nanoseconds since boot, of clock-tick precision.
 * Returns 0, or -EBADMSG.
 */
int resync_parse_stat(const char *s, size_t len, char ret_comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns);
