#pragma once

/*
 * Flags of a process
 *
 * Finds the value of a flag in the arguments of a running process. For the files that say how a service is started, see
 * unitargs.h. No I/O.
 */

#include <stddef.h>
#include "util.h"

/* The value of @flag in the @size bytes of a /proc/PID/cmdline (arguments end with NUL); the last one counts, as
 * kubelet has it. Returns a copy, owned by the caller, in @ret; -ENOENT or -ENOMEM. */
int flagedit_argv(const char *cmdline, size_t size, const char *flag, char **ret);
