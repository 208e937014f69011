#pragma once

/*
 * Handing over
 *
 * The side of the podspan-cri that runs: a control socket PATH.upgrade beside the listening one (mode 0600, peers of
 * our uid only), where another podspan-cri takes over listening socket and connections; takeover.h is its side,
 * handovermsg.h what they say. Until COMMIT nothing is lost by any failure of the other: what was frozen thaws and goes
 * on.
 */

#include "conn.h"
#include "handovermsg.h"
#include "unixsocket.h"

#define HANDOVER_SUFFIX    ".upgrade"
#define HANDOVER_GREET_NS  (10 * NSEC_PER_SEC)   /* the other gets ready */
#define HANDOVER_SETTLE_NS (500 * NSEC_PER_MSEC) /* for all connections to be between header blocks at once */
#define HANDOVER_FORCE_NS  (100 * NSEC_PER_MSEC) /* then, for each; who is not by then goes as plain forwarding */
#define HANDOVER_POLL_NS   (2 * NSEC_PER_MSEC)
#define HANDOVER_TAKE_NS   (3 * NSEC_PER_SEC)  /* the other reads the state */
#define HANDOVER_CONN_NS   (1 * NSEC_PER_MSEC) /* and for each connection this much longer */
#define HANDOVER_DONE_NS   (1 * NSEC_PER_SEC)  /* the other begins */

typedef enum HandoverPhase {
        HANDOVER_IDLE,
        HANDOVER_GREETING, /* until HELLO */
        HANDOVER_GREETED,  /* until START */
        HANDOVER_SETTLING,
        HANDOVER_FORCING,
        HANDOVER_SENT,      /* until READY */
        HANDOVER_COMMITTED, /* until DONE */
} HandoverPhase;

typedef struct Handover Handover;

struct Handover {
        ConnOwner *owner;
        HandoverMsg info; /* borrowed strings: what we were started with */
        int listen_fd;    /* borrowed */
        bool owns_path;   /* of the listening socket: the other is to remove it one day */
        UnixSocketFile listen_file;
        void (*pause)(Handover *handover, bool paused); /* no new connections, for now */
        void (*done)(Handover *handover);               /* all is the other's: end */

        int control_fd;
        LoopSource control;
        char *control_path; /* NULL: not ours to remove */
        UnixSocketFile control_file;
        int peer_fd;
        pid_t peer_pid;
        LoopSource peer;
        LoopTimer timer;
        HandoverPhase phase;
        uint64_t since_ns; /* of the phase, monotonic */
        bool with_taps;    /* the other understands them */
};

#define HANDOVER_NULL                                                                                      \
        {                                                                                                  \
                .listen_fd = -EBADF, .control_fd = -EBADF, .control = LOOP_SOURCE_NULL, .peer_fd = -EBADF, \
                .peer = LOOP_SOURCE_NULL, .timer = LOOP_TIMER_NULL                                         \
        }

/* PATH.upgrade for the listening socket's path, owned by the caller; NULL if it does not fit into an address. */
char *handover_path(const char *listen_path);

/*
 * Offers it, at handover_path(@listen_path), or on @consume_control_fd, a socket that was there before. What is set
 * above must be. Returns 0 or a negative errno: then nobody can take over, and that is all.
 */
int handover_init(Handover *handover, const char *listen_path, int consume_control_fd);
void handover_deinit(Handover *handover);
