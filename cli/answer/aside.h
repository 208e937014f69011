#pragma once

/*
 * Aside: reading what may never answer
 *
 * To read the command line, the environment or the memory of a process, or to stat a path of it, can block for ever: a
 * page or a path may be on a file system whose server is dead. Such reads are done by a child. One that does not answer
 * in time is killed and left behind; it ends when the kernel lets it.
 *
 * Asides bounds both what is left behind and the time that is lost so, for all questions of one run.
 */

#include <stdint.h>
#include <sys/types.h>
#include "util.h"

#define ASIDE_ANSWER_NS (100 * NSEC_PER_MSEC)  /* a child that says nothing for this long is left behind */
#define ASIDE_SLOW_NS   (2000 * NSEC_PER_MSEC) /* unless it only waits for a CPU; then for this long */
#define ASIDE_LOST_NS   (1000 * NSEC_PER_MSEC) /* after this much of it in all, nothing more is asked */
#define ASIDE_LEFT_MAX  16                     /* children that are left behind at a time */

typedef struct Asides {
        pid_t left[ASIDE_LEFT_MAX];
        size_t n_left;
        uint64_t lost_ns;
} Asides;

typedef struct Aside {
        Asides *asides;
        pid_t pid;
        int fd; /* what the child writes */
} Aside;

#define ASIDE_NULL \
        { .fd = -EBADF }

/*
 * Starts a child that runs @fn, which writes its answer to @out and returns. The child has no standard streams, so
 * nobody who reads ours waits for it. Returns 0, -EBUSY where enough was left behind or lost, or a negative errno.
 */
int aside_start(Asides *asides, void (*fn)(int out, void *userdata), void *userdata, Aside *ret);

/* Reads exactly @size bytes. Returns 0, -ETIMEDOUT if the child was silent too long, -EPIPE if it ended before, or a
 * negative errno. */
int aside_read(Aside *aside, void *buf, size_t size);

/* Ends it, or leaves it behind. */
void aside_end(Aside *aside);

/* All of these in one: at most @size bytes. Returns how many the child wrote, or a negative errno as above. */
ssize_t aside_ask(Asides *asides, void (*fn)(int out, void *userdata), void *userdata, void *buf, size_t size);
