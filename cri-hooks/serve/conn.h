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
#define CONN_WAIT_NS  (250 * NSEC_PER_MSEC) /* a call waits this long for the DATA that says whose it is */
#define CONN_READ_MIN (2U * 1024)           /* the same while CONN_KEPT_MAX is exceeded */
#define CONN_KEPT_MAX (32U * 1024 * 1024U)  /* bytes kept for readers that do not read, over all connections */
#define CONN_TAPS_MAX                                                                                            \
        (48U * 1024 * 1024U)       /* HPACK tables and bytes kept back, over all connections: beyond, those that \
                                      have most become plain forwarding */
#define CONN_OUT_MAX (512U * 1024) /* bytes of one direction that another process may hand over */

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
        size_t n_taps;                    /* bytes of their taps, but for the calls' */
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
        bool frozen;   /* nothing is read from it or written to it */
        bool as_plain; /* it can go to another process as plain forwarding only */
        size_t n_tap;  /* its share of the owner's n_taps */
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

/*
 * Handing over to another process (handover.h). From conn_freeze() until conn_thaw() nothing is read from @conn or
 * written to it. Freezing fails, with false, while its tap cannot be packed (tappack.h); with @force such a connection
 * goes as plain forwarding. conn_thaw() may free @conn.
 */
bool conn_freeze(Conn *conn, bool force);
void conn_thaw(Conn *conn);
/* Packs a frozen connection, but for its two descriptors. */
void conn_pack(const Conn *conn, Pack *pack);
/*
 * Makes the connection that was packed, frozen; a tap that cannot be read makes it plain forwarding (counted), and so
 * does
 * @with_tap being false. Takes both descriptors, also on failure. 0, -EBADMSG or -ENOMEM.
 */
int conn_unpack(ConnOwner *owner, int consume_client, int consume_runtime, bool with_tap, Unpack *unpack);
/* What was frozen in the other process is now read here: the calls' context files become this one's. May free @conn. */
void conn_adopt(Conn *conn);
/* Forgets a frozen connection which another process goes on with; what that cannot know of its calls ends here. */
void conn_drop(Conn *conn);

/* Whether fields may be appended has changed. */
void conn_set_inject(ConnOwner *owner);

/* Now and then, as tap_tick() has it, of all connections. */
void conn_tick_all(ConnOwner *owner);
