#pragma once

/*
 * A connection
 *
 * One client's socket, one to the runtime, and the tap between them. What is read is written at once; only what the
 * other side does not take is kept, and until it is taken nothing more is read: a slow reader slows the writer as a
 * direct connection would. Ends of file, half-closes and resets are handed on.
 */

#include "calls.h"
#include "loop.h"

#define CONN_READ_MAX (64U * 1024) /* bytes of one read, and so of what is kept in one direction (and a field) */
#define CONN_WAIT_NS  (100 * NSEC_PER_MSEC) /* a call waits this long for the DATA that says whose it is */
#define CONN_READ_MIN (2U * 1024)           /* the same while CONN_KEPT_MAX is exceeded */
#define CONN_KEPT_MAX (32U * 1024 * 1024U)  /* bytes kept for readers that do not read, over all connections */

typedef struct Conn Conn;
typedef struct ConnEnd ConnEnd;
typedef struct ConnOwner ConnOwner;

/* Who holds the connections. */
struct ConnOwner {
        Loop *loop;
        Calls *calls;
        bool tracing; /* false: forward only */
        Conn *conns;
        size_t n_conns;
        size_t n_kept;                    /* bytes kept, of all connections */
        unsigned n_waiting;               /* connections whose calls wait for their identity */
        void (*wait)(ConnOwner *owner);   /* n_waiting is no longer 0: call conn_release_due() in CONN_WAIT_NS */
        void (*closed)(ConnOwner *owner); /* one has gone */
        uint8_t scratch[CONN_READ_MAX];
};

struct ConnEnd {
        LoopSource source;
        int fd;
        uint8_t *out; /* what its peer has not taken yet */
        uint32_t n_out;
        uint32_t out_off;
        bool eof;    /* nothing more to read from it */
        bool hup;    /* closed altogether */
        bool broken; /* nothing can be written to it */
        bool shut;   /* our writing side is shut down */
};

struct Conn {
        ConnOwner *owner;
        Conn *prev, *next;
        ConnEnd client;
        ConnEnd runtime;
        Tap tap;
        TapEnd how; /* which side ended it */
        bool ended;
        bool waiting;
};

/* Takes both descriptors, also on failure. 0 or a negative errno. */
int conn_new(ConnOwner *owner, int consume_client, int consume_runtime);
/* Closes it; calls in flight end as @how. */
void conn_close(Conn *conn, TapEnd how);

/*
 * Lets go the calls that have waited CONN_WAIT_NS. Returns in how many nanoseconds the next ones are due, 0 if none
 * waits.
 */
uint64_t conn_release_due(ConnOwner *owner);

/* Now and then, as tap_tick() has it, of all connections. */
void conn_tick_all(ConnOwner *owner);
