#pragma once

/*
 * Atomic file
 *
 * A small file that is there whole or not at all: pid and exit files, which others watch for.
 */

#include <stddef.h>
#include <sys/types.h>

/*
 * Writes the @size bytes of @data to @dir/@name by way of a file with a dot name beside it, replacing what is there.
 * Mode 0644 less umask. Returns 0, or a negative errno with nothing left behind.
 */
int atomicfile_write(const char *dir, const char *name, const void *data, size_t size);

/* The same for a path. */
int atomicfile_write_path(const char *path, const void *data, size_t size);

/* The number in a pid file: digits, and at most a newline behind them; above 0. 0 or -EBADMSG. */
int atomicfile_parse_pid(const char *s, size_t len, pid_t *ret);

/* Reads the pid from the file at @path. 0, -EBADMSG, or a negative errno. */
int atomicfile_read_pid(const char *path, pid_t *ret);
