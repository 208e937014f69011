#pragma once

/*
 * Server
 *
 * Listens where kubelet calls, and connects each client to the runtime before anything is read from it. Where the
 * runtime is not there, the client's connection is closed at once, which a gRPC client takes as it takes a refused one.
 * The same for a client that is neither uid 0 nor our own user.
 */

#include "conn.h"
#include "handover.h"
#include "takeover.h"
#include "unixsocket.h"

#define SERVER_BACKLOG    4096
#define SERVER_ACCEPT_MAX 16                   /* connections taken in one turn */
#define SERVER_FLUSH_NS   (20 * NSEC_PER_MSEC) /* spans wait this long for company */
#define SERVER_ENDED_NS   (5 * NSEC_PER_MSEC)  /* what is left to do about calls that are over waits this long */
#define SERVER_TICK_NS    (60 * NSEC_PER_SEC)
#define SERVER_RETRY_NS   (100 * NSEC_PER_MSEC) /* no descriptors left: try again */
#define SERVER_FDS_KEPT   320                   /* descriptors that no connection gets */
#define SERVER_CONNS_MAX  8192                  /* further clients wait until one has gone */

typedef struct Server Server;

struct Server {
        ConnOwner owner;
        Calls *calls;
        Loop *loop;
        const char *listen_path;  /* borrowed; NULL: the socket was passed to us */
        const char *runtime_path; /* borrowed */
        int listen_fd;
        UnixSocketFile listen_file;
        size_t max_conns;
        bool full;                      /* max_conns are open: nobody is let in */
        bool paused;                    /* for another process to take over */
        bool gone;                      /* it has */
        Handover handover;              /* its info is the owner's to fill in */
        void (*reload)(Server *server); /* SIGHUP came */
        uint64_t watchdog_usec;         /* WATCHDOG=1 is due this often; 0: never */
        LoopTimer watchdog_timer;
        LoopSource listen_source;
        LoopTimer flush_timer;
        LoopTimer ended_timer;
        LoopTimer young_timer;
        LoopTimer wait_timer;
        LoopTimer tick_timer;
        LoopTimer retry_timer;
        LoopSignal signals;
};

#define SERVER_NULL                                                                                               \
        {                                                                                                         \
                .listen_fd = -EBADF, .listen_source = LOOP_SOURCE_NULL, .flush_timer = LOOP_TIMER_NULL,           \
                .ended_timer = LOOP_TIMER_NULL, .young_timer = LOOP_TIMER_NULL, .wait_timer = LOOP_TIMER_NULL,    \
                .tick_timer = LOOP_TIMER_NULL, .retry_timer = LOOP_TIMER_NULL, .watchdog_timer = LOOP_TIMER_NULL, \
                .signals = LOOP_SIGNAL_NULL, .handover = HANDOVER_NULL,                                           \
        }

/* Makes the loop. Returns 0 or a negative errno. @server must stay where it is. */
int server_init(Server *server, Calls *calls, bool tracing, const char *runtime_path);

/*
 * Opens the listening socket at @path (mode 0600, parent directories made, a socket on which nobody answers replaced)
 * unless @consume_listen_fd is one, and offers it to whoever wants to take over. While `podspan bypass` is on, @path is
 * a link to the runtime and the socket is beside it, at PATH.bypass: there it is opened then. Returns 0, -EADDRINUSE,
 * -EEXIST if there is something else than a socket, -ENAMETOOLONG, or another negative errno.
 */
int server_listen(Server *server, const char *path, int consume_listen_fd);

/*
 * Takes over from the process that was greeted: its listening socket, unless @consume_listen_fd is one, and its
 * connections. @path is as with server_listen(). Returns 0 or a negative errno: the other one goes on then.
 */
int server_take_over(Server *server, Takeover *takeover, const char *path, int consume_listen_fd);

/* Until SIGTERM or SIGINT, or until another process has taken over (server->gone): 0, or a negative errno. */
int server_run(Server *server);
/* Closes connections, ends their calls, removes the socket. */
void server_deinit(Server *server);

/* For CallsWakeFn: the server whose calls these are. */
void server_wake(Server *server, CallsWork work);
