#pragma once

/*
 * Control FIFOs
 *
 * `ctl` and `winsz` in a container's bundle, through which its engine says that logs are to be reopened and what size
 * the terminal has (ctlline.h). What is no such line is ignored and counted.
 */

#include "ctlline.h"
#include "loop.h"

typedef struct Fifos Fifos;
typedef void (*FifosFn)(Fifos *fifos, const CtlLine *line);

typedef struct Fifo {
        LoopSource source;
        int read_fd;
        int write_fd; /* a writer of our own, so that the last of the others leaves no end of file behind */
        CtlBuffer buffer;
        Fifos *fifos;
} Fifo;

struct Fifos {
        Fifo ctl;
        Fifo winsz;
        unsigned n_bad;
        FifosFn fn;
};

#define FIFO_NULL \
        { .source = LOOP_SOURCE_NULL, .read_fd = -EBADF, .write_fd = -EBADF }
#define FIFOS_NULL \
        { .ctl = FIFO_NULL, .winsz = FIFO_NULL }

/* Makes both in the directory @dir_fd, in the place of what has their names, and listens. 0 or a negative errno. */
int fifos_open(Fifos *fifos, Loop *loop, int dir_fd, FifosFn fn);
/* Closes them; the files stay. */
void fifos_close(Fifos *fifos);
