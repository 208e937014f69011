#pragma once

/*
 * Unix sockets by sock_diag(7)
 *
 * The kernel's list of all Unix sockets of a network namespace: who is whose peer, who listens, and which sockets wait
 * in a listener's queue. sockdiag_next() parses replies and does no I/O; sockdiag_load() asks the kernel.
 */

#include <stdbool.h>
#include "aside.h"

#define SOCKDIAG_NAME_MAX    108
#define SOCKDIAG_SOCKETS_MAX 65536 /* of one namespace */
#define SOCKDIAG_QUEUE_MAX   65536 /* waiting in queues of listeners, of one namespace */
#define SOCKDIAG_NS          (300 * NSEC_PER_MSEC)

typedef struct SockdiagSocket {
        uint32_t ino;
        uint32_t peer;                    /* 0: none, or not accepted yet */
        uint8_t state;                    /* 1 established, 10 listening … */
        char name[SOCKDIAG_NAME_MAX + 1]; /* a path, or "@" and an abstract name; "": none */
        uint32_t rqueue;                  /* bytes that it has not read; of a listener: connections not accepted */
        uint32_t wqueue;                  /* of a listener: how many it lets wait */
        const uint8_t *waiting;           /* inodes of the sockets in its queue, 4 bytes each; within the reply */
        size_t n_waiting;
} SockdiagSocket;

/* The next socket of the reply. Returns 1, 0 at the end of the bytes, -ENODATA at the end of the list, -EBADMSG, or the
 * kernel's error. */
int sockdiag_next(const uint8_t **p, size_t *n, SockdiagSocket *ret);

typedef struct SockdiagWaiting {
        uint32_t ino, listener;
} SockdiagWaiting;

typedef struct Sockdiag {
        SockdiagSocket *sockets;
        size_t n, n_allocated;
        SockdiagWaiting *waiting;
        size_t n_waiting, n_waiting_allocated;
        bool incomplete;
} Sockdiag;

#define SOCKDIAG_NULL \
        {}

/* Loads the sockets of the network namespace of process @pid; 0: of our own. 0 or a negative errno. */
int sockdiag_load(Asides *asides, pid_t pid, Sockdiag *ret);
void sockdiag_deinit(Sockdiag *diag);

const SockdiagSocket *sockdiag_find(const Sockdiag *diag, uint64_t ino);
/* The listener in whose queue the socket @ino waits; NULL. */
const SockdiagSocket *sockdiag_listener_of(const Sockdiag *diag, uint64_t ino);
/* The listener of this name; NULL. */
const SockdiagSocket *sockdiag_listener(const Sockdiag *diag, const char *name);
