#pragma once

/*
 * Flags in text
 *
 * Finds `--FLAG=VALUE` and `--FLAG VALUE` in files that carry a command line: systemd units and drop-ins (ExecStart,
 * Environment), environment files such as kubeadm-flags.env. Lines that begin with # or ; are comments; VALUE may stand
 * in quotes, after a continued line (\ at its end), and ends at a blank or the quote around the flag. No I/O.
 */

#include <stdbool.h>
#include "bytes.h"

typedef struct FlagSpan {
        size_t from; /* the value without its quotes */
        size_t to;
} FlagSpan;

/* The next @flag ("--name") at or after @pos. Returns true with its value's place in @ret; go on at ret->to. */
bool flagedit_next(const char *s, size_t n, const char *flag, size_t pos, FlagSpan *ret);

/* The value of @flag in the @size bytes of a /proc/PID/cmdline (arguments end with NUL); the last one counts, as
 * kubelet has it. Returns a copy, owned by the caller, in @ret; -ENOENT or -ENOMEM. */
int flagedit_argv(const char *cmdline, size_t size, const char *flag, char **ret);
