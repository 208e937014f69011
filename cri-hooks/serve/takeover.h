#pragma once

/*
 * Taking over
 *
 * The side of the podspan-cri that starts while another one runs; see handover.h and handovermsg.h. All this happens
 * before it serves anybody, so it waits for the other, TAKEOVER_TIMEOUT_S at most for each answer.
 */

#include "conn.h"
#include "handovermsg.h"

#define TAKEOVER_TIMEOUT_S 5

typedef struct Takeover {
        int fd;           /* to the other one; -EBADF: there is none */
        HandoverMsg info; /* what it was started with */
        HandoverMsg state;
        int listen_fd;  /* with takeover_receive(), to be taken by the caller */
        int control_fd; /* likewise */
} Takeover;

#define TAKEOVER_NULL \
        { .fd = -EBADF, .listen_fd = -EBADF, .control_fd = -EBADF, }

/*
 * Greets the podspan-cri that listens at @listen_path. Returns 0 with its info in @takeover, -ENOENT if there is none,
 * -EPERM if it is another uid's, -EPROTONOSUPPORT if it cannot be understood, or another negative errno.
 */
int takeover_greet(Takeover *takeover, const char *listen_path);

/* Receives sockets and connections (frozen, in @owner). 0 or a negative errno: then the other one goes on. */
int takeover_receive(Takeover *takeover, ConnOwner *owner);

/* From now on they are ours: 0; or a negative errno, and the other one goes on. */
int takeover_commit(Takeover *takeover, ConnOwner *owner);

/* Forgets everything; without takeover_commit() before, the other one goes on. */
void takeover_deinit(Takeover *takeover);
