#pragma once

/*
 * Opener
 *
 * A process of its own that opens bundles' config.json where podspan-watch cannot: it is forked before podspan-watch
 * confines itself, since only a running engine tells where it keeps its bundles, and that may be later. It is told of
 * engines (of root, as the kernel side believes in them), reads their configuration, and hands out descriptors of
 * regular files called config.json below the folders that are configured there.
 *
 * It can read the file system, and write nothing, execute nothing and reach no network (Landlock, a filter of system
 * calls, no capability but CAP_DAC_READ_SEARCH). A configuration or folder counts if root owns it and nobody else may
 * write it. It ends with podspan-watch.
 *
 * Blocking, with a limit of OPENER_WAIT_S for each answer: after that it is given up.
 */

#include <stdbool.h>
#include <stdint.h>
#include "command.h"

#define OPENER_ROOTS_MAX 32 /* folders that engines name, all together */
#define OPENER_WAIT_S    2

typedef struct Opener {
        int fd;     /* -EBADF: there is none, or it has been given up */
        int pid_fd; /* of the process, until opener_deinit() */
} Opener;

#define OPENER_NULL \
        { .fd = -EBADF, .pid_fd = -EBADF }

/* What an engine said. */
typedef struct OpenerFolders {
        uint32_t n_new;        /* folders not known before */
        uint32_t n_unreadable; /* configuration files that could not be read, or that root alone does not own */
        char unreadable[EVENT_FILE_MAX]; /* one of them */
        int32_t error;                   /* … and why, a negative errno */
} OpenerFolders;

/*
 * Starts the process. Call it early: what is open then, it has too. @kill: PODSPAN_SECCOMP=kill. Returns 0 or a
 * negative errno.
 */
int opener_init(Opener *opener, bool kill);
/* The process ends, too, and is waited for, OPENER_WAIT_S at most. */
void opener_deinit(Opener *opener);

/* Tells of the running engine @command. Returns 0, -EPIPE where the opener is gone, or another negative errno. */
int opener_add_engine(Opener *opener, const Command *command, OpenerFolders *ret);

/*
 * Opens config.json of the bundle at @path for reading. Returns a descriptor, -EACCES if it is below no folder of an
 * engine's, -EPIPE where the opener is gone, or another negative errno.
 */
int opener_open(Opener *opener, const char *path);

/*
 * Opens config.json in the folder @name below @root, through no symbolic link, if it is a regular file of at most
 * BUNDLE_SIZE_MAX bytes, and @uid's own (0: anybody's). Returns a descriptor or a negative errno.
 */
int opener_open_below(int root_fd, const char *name, uint32_t uid);
