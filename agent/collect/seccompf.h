#pragma once

/*
 * Seccomp filter
 *
 * podspand reads files, writes a database and talks to processes of its own; it has no network, starts no thread and
 * executes nothing: the spawner, forked before, does. The filter allows what that takes and refuses the rest with
 * EPERM, so that a bug in a parser or a library stays a bug of this process. PODSPAN_SECCOMP=kill makes it kill
 * instead, for tests that look for what is missing.
 */

#include <stdbool.h>

/*
 * Sets no_new_privs and loads the filter for all threads of the process. Call it after spawner_start().
 * Returns 0 or a negative errno; -EOPNOTSUPP where the kernel has no seccomp.
 */
int seccompf_load(bool kill);
