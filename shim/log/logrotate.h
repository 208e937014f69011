#pragma once

/*
 * Log files and their rotation
 *
 * The file system's part of a log file: opening, giving way to a new file, keeping old ones as PATH.1 (the youngest) to
 * PATH.N. Every step leaves either the old file or the new one at PATH, so that a reader that follows the name always
 * finds one. A step works in one directory that is held open; logrotate_renew() looks at the path anew, for a folder
 * that was removed and made again.
 */

#include "logs.h"

#define LOGROTATE_MODE 0640

typedef enum LogRotateKind {
        LOGROTATE_FILE,   /* a regular one; nothing else is ever renamed or replaced */
        LOGROTATE_FIFO,   /* nobody has it open for reading */
        LOGROTATE_READ,   /* a FIFO that somebody has open for reading */
        LOGROTATE_DEVICE, /* whatever else */
} LogRotateKind;

typedef struct LogRotate {
        int dir_fd; /* own, O_PATH */
        char *dir;  /* its path, as given; relative to the working directory, which a monitor never changes */
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
 * opened all the same, and one that is full refuses. A FIFO is opened for reading, too, where that is allowed: so it
 * holds what it was given while nobody reads. Returns 0 with the descriptor owned by the caller, the size of a regular
 * file and its kind, or a negative errno.
 */
int logrotate_open(const LogRotate *rotate, int *ret_fd, uint64_t *ret_size, LogRotateKind *ret_kind);

/* Follows the path to the folder that has it now. Returns 0, or a negative errno and the folder stays what it was. */
int logrotate_renew(LogRotate *rotate);

/* Is @fd the file that has the name now? */
bool logrotate_in_place(const LogRotate *rotate, int fd);

/* Has any file the name? */
bool logrotate_exists(const LogRotate *rotate);

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
