#pragma once

/*
 * Spawner
 *
 * Starts podspan-export for podspand, which may execute nothing itself once its system call filter is on. It is a fork
 * of podspand from before anything else was set up: it opens nothing, parses nothing, and executes one program, which
 * was chosen at the start, with the memory limits below. Each process that it starts is podspand's own child and dies
 * with podspand; so does the spawner.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "util.h"

#define SPAWNER_PROGRAM    "podspan-export"
#define SPAWNER_DATA_MAX   (36U * 1024 * 1024) /* RLIMIT_DATA: private writable memory, thread stacks included */
#define SPAWNER_STACK_SIZE (256U * 1024)       /* RLIMIT_STACK: what glibc gives each thread */

/* What spawner_take() returns of one request. */
typedef struct Spawned {
        uint32_t serial; /* the request's */
        int error;       /* 0 or a negative errno: nothing was started */
        pid_t pid;
        int pidfd; /* the caller's */
} Spawned;

/*
 * Forks the spawner; call it before threads, filter and signals are set up. The program is the one beside the running
 * executable (a build directory), else the installed one. Returns 0 with our end of its socket, non-blocking and the
 * caller's, in @ret_fd; -ENOENT or another negative errno of open(2) where the program cannot be opened; or another
 * negative errno.
 */
int spawner_start(int *ret_fd);

/*
 * Asks for one process with @fd (the caller's) as its descriptor EXPORTWIRE_FD. The answer comes over the spawner's
 * socket. Returns 0 or a negative errno.
 */
int spawner_request(int spawner_fd, uint32_t serial, int fd);

/* Returns 1 with an answer, 0 where there is none yet, -ECONNRESET where the spawner is gone, or another negative
 * errno. */
int spawner_take(int spawner_fd, Spawned *ret);
