#pragma once

/*
 * Wait
 *
 * What one process waits for, as it is printed: the kind, its object, and who could end it.
 */

#include "procscan.h"
#include "waitkind.h"

/* What is known about the process at the other end: the lock's holder, the socket's peer, the FIFO's other side. */
typedef enum WaitPeer {
        WAIT_PEER_NONE,    /* such a wait has no other end */
        WAIT_PEER_UNKNOWN, /* it has one, and it was not found */
        WAIT_PEER_NOBODY,  /* all processes were looked at: nobody */
        WAIT_PEER_FOUND,
        WAIT_PEER_KERNEL,
        WAIT_PEER_GONE, /* it took the lock and has ended */
} WaitPeer;

typedef struct Wait {
        WaitKind kind;
        WaitUse use;
        char state;       /* of the process */
        char syscall[24]; /* "": none, or not known */
        char wchan[64];   /* evidence */
        char path[WAIT_NAME_MAX + 1];
        char address[WAIT_NAME_MAX + 1]; /* "127.0.0.1:80", the name of a Unix socket, netlink's family */
        char mount[WAIT_NAME_MAX + 1];
        char mount_type[32];
        char cgroup[WAIT_NAME_MAX + 1]; /* the one that is frozen */
        const char *phrase;             /* of a wait without object; static */
        uint64_t inode;                 /* of the file, FIFO, pipe or socket; 0: not known */
        bool is_pipe;                   /* a pipe, not a FIFO with a name */
        bool listens;                   /* for a connection */
        bool connecting;                /* no answer to it yet */
        bool not_accepted;
        bool queue_full;
        uint32_t n_queued; /* connections that wait there */
        uint32_t n_unread; /* bytes that the peer has not read */
        unsigned n_others; /* descriptors it waits for besides */
        unsigned n_threads;
        bool has_timeout;
        WaitPeer peer;
        pid_t peer_pid;
        char peer_name[PROCFILE_COMM_MAX + 1];
        char peer_state; /* as /proc says; 0: not known */
        bool peer_frozen;
        size_t n_peers;   /* several have it open; the first is named */
        uint64_t pending; /* signals, as ProcfileStatus */
        uint64_t blocked, ignored, caught;
        int want;       /* the question to the pass over all descriptors; -1: none */
        bool want_read; /* the other end is one that reads; else one that writes */
        bool changed;   /* the process went on while it was read */
} Wait;

#define WAIT_NULL \
        { .want = -1 }

/* One clause whose subject is the process: "waits for the lock of /run/x, held by sleep (pid 6019)". Not safe for a
 * terminal. No I/O. */
void wait_words(const Wait *wait, char ret[static WAIT_TEXT_MAX]);
