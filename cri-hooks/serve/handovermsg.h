#pragma once

/*
 * What two podspan-cri say to each other when one takes over from the other
 *
 *     new                      old
 *     HELLO                 →
 *                           ←  INFO    what it was started with
 *     (reads its configuration, gets ready)
 *     START                 →          from now on nothing is read from the clients
 *                           ←  STATE   a file with the state; with it, the listening and the control socket
 *                           ←  FDS …   the connections' descriptors, client and runtime in turns
 *     READY                 →
 *                           ←  COMMIT  until here the old one can go on, from here on only the new one
 *     DONE                  →          the old one ends
 *
 * Each is one packet: a number that says which, then its content (pack.h). The file has records, each a length and its
 * bytes: first what belongs to no connection, then one a connection. The version is that of all this but the taps'
 * state, which has its own (tappack.h). No I/O.
 */

#include "pack.h"

#define HANDOVERMSG_VERSION    1
#define HANDOVERMSG_MAX        16384         /* bytes of a packet */
#define HANDOVERMSG_TEXT_MAX   4095          /* characters of a path */
#define HANDOVERMSG_CONNS_MAX  (512U * 1024) /* connections */
#define HANDOVERMSG_RECORD_MAX (64U << 20)   /* bytes of a record */

typedef enum HandoverType {
        HANDOVER_HELLO = 1,
        HANDOVER_INFO,
        HANDOVER_START,
        HANDOVER_STATE,
        HANDOVER_FDS,
        HANDOVER_READY,
        HANDOVER_COMMIT,
        HANDOVER_DONE,
        _HANDOVER_TYPE_MAX,
} HandoverType;

typedef struct HandoverMsg {
        HandoverType type;
        uint32_t version; /* HELLO, INFO */
        /* INFO, owned; NULL: none */
        char *runtime;
        char *config;
        char *state_dir;
        char *notify;           /* NOTIFY_SOCKET */
        uint64_t watchdog_usec; /* 0: none */
        uint32_t tap_version;   /* START: TAPPACK_VERSION, 0: make all plain */
        uint32_t n_conns;       /* STATE */
        uint64_t size;          /* of its file */
        bool owns_path;         /* the listening socket's name is to be removed at the end; dev and ino say which */
        uint64_t dev, ino;
} HandoverMsg;

void handovermsg_deinit(HandoverMsg *msg);

void handovermsg_write(const HandoverMsg *msg, Pack *pack);

/*
 * 0, -EBADMSG, or -ENOMEM. HELLO and INFO of another version are read no further than their version. @ret is to be
 * released in any case.
 */
int handovermsg_read(const void *p, size_t n, HandoverMsg *ret);
