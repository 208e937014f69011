#pragma once

/*
 * Other people's programs
 *
 * Runs a runtime's own check of its configuration, or what makes a file: standard input empty, output and errors
 * caught, a time limit after which it is killed.
 */

#include "bytes.h"

#define RUNCHECK_TIMEOUT_MS 20000

/* The file that execvp(3) would take for @name, in @ret (owned by the caller). Returns 0, -ENOENT or -ENOMEM. */
int runcheck_find(const char *name, char **ret);

/*
 * Runs @argv. Returns its exit code (128 + signal if one ended it) with its output, of at most BYTES_FILE_MAX bytes, in
 * @ret_out and @ret_err; -ETIMEDOUT, or another negative errno if it could not be run.
 */
int runcheck_run(char *const argv[], Bytes *ret_out, Bytes *ret_err);
