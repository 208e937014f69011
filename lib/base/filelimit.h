#pragma once

/*
 * File-size limit
 *
 * A write beyond RLIMIT_FSIZE raises SIGXFSZ, and SIGXFSZ kills the process by default. With the signal ignored the
 * write fails with EFBIG instead, and EFBIG is handled like any other error of a write.
 *
 * Every program of podspan calls filelimit_ignore() first in main(). An ignored signal stays ignored across exec, so a
 * child that executes a program which is not part of podspan calls filelimit_restore() before exec.
 */

#include <stdbool.h>

/* Ignores SIGXFSZ in this process and remembers the disposition it had. A second call changes nothing. */
void filelimit_ignore(void);

/*
 * Restores the disposition that SIGXFSZ had before filelimit_ignore(). Async-signal-safe: a child may call it between
 * fork(2) or vfork(2) and exec. Does nothing if filelimit_ignore() was not called.
 */
void filelimit_restore(void);

/* Did SIGXFSZ have its default disposition before filelimit_ignore()? For posix_spawnattr_setsigdefault(3). */
bool filelimit_was_default(void);
