#pragma once

/*
 * Log files and their rotation
 *
 * The file system's part of a log file: opening, giving way to a new file, keeping old ones as PATH.1 (the youngest) to
 * PATH.N. Every step leaves either the old file or the new one at PATH, so that a reader that follows the name always
 * finds one. The directory is opened once; names are looked up in it, never through its path again.
 */

#include "logs.h"

#define LOGROTATE_MODE 0640

typedef struct LogRotate {
        int dir_fd; /* own, O_PATH */
        char *name; /* of the file in it */
        char *path; /* as given */
        char **allowlist;
        size_t n_allowlist;
        uint64_t max_files;
} LogRotate;

#define LOGROTATE_NULL \
        { .dir_fd = -EBADF }

/* @allowlist (strings copied): see LogsOptions. Returns 0 or a negative errno. */
int logrotate_init(LogRotate *rotate, const char *path, const char *const *allowlist, size_t n_allowlist,
                   uint64_t max_files);
void logrotate_deinit(LogRotate *rotate);

/*
 * Opens the file to append to it, made with LOGROTATE_MODE if it is missing. Never waits: a FIFO without reader is
 * opened all the same, and one that is full refuses. Returns 0 with the descriptor owned by the caller, its size, and
 * whether it is a regular file (nothing else is ever renamed or replaced), or a negative errno.
 */
int logrotate_open(const LogRotate *rotate, int *ret_fd, uint64_t *ret_size, bool *ret_regular);

/* Is @fd the file that has the name now? */
bool logrotate_in_place(const LogRotate *rotate, int fd);

/* A new empty file at PATH, by way of PATH.tmp; what was at PATH loses its name. 0 with the descriptor, or a negative
 * errno and all as it was. */
int logrotate_replace(const LogRotate *rotate, int *ret_fd);

/*
 * A new empty file at PATH; @fd, which is there now, becomes PATH.1, PATH.1 becomes PATH.2 and so on, PATH.max_files is
 * dropped. Refused, as by conmon, with -EXDEV outside the allowlist, -ELOOP if PATH is a symlink, -EINVAL if it has a
 * ".." component, -EPERM in a directory where anybody may rename files, -ESTALE if PATH is another file than @fd,
 * -EAGAIN or -EACCES if somebody holds a lock on it. Returns 0 with the descriptor, or a negative errno and a file at
 * PATH that is @fd.
 */
int logrotate_shift(const LogRotate *rotate, int fd, int *ret_fd);
