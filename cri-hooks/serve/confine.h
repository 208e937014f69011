#pragma once

/*
 * Confinement
 *
 * podspan-cri runs as uid 0, because the runtime's socket is root's, and needs nothing else that root can do. Image
 * credentials and pods' environments pass through its memory, so nobody may look into it or find it in a core dump.
 */

#include <stdbool.h>

/*
 * To be called once everything is open. Joins the group of the directory @state_fd (negative: none), whose files it is
 * to write, as far as it may; no core dumps, no tracing by others; no capability in any set; no_new_privs; the filter
 * of system calls, which with @kill ends the process instead of failing with EPERM. Returns 0, or a negative errno:
 * -EOPNOTSUPP, -EINVAL or -ENOSYS only if everything but the filter is done and the kernel has no seccomp.
 */
int confine(int state_fd, bool kill);
