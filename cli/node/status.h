#pragma once

/*
 * Status
 *
 * What can be known about podspan on this node from the outside: the store, the counters, the call tally, and who is
 * alive. Gathering takes no lock that anybody waits for and needs none of the daemons.
 */

#include "bypass.h"
#include "cli.h"
#include "config.h"
#include "counters.h"
#include "tally.h"
#include "watchstate.h"

#define STATUS_META_MAX 32
#define STATUS_LOCK     "podspand.lock" /* in the store's directory; podspand holds a flock on it */

typedef enum StatusAlive {
        STATUS_UNKNOWN,
        STATUS_DEAD,
        STATUS_ALIVE,
} StatusAlive;

/* A socket of podspan-cri's at a path that it has by default, or the link to the runtime that bypasses it. */
typedef struct StatusPath {
        char *path; /* NULL: nothing there */
        BypassState state;
        char *runtime;  /* where the link leads; NULL where not known */
        int error;      /* why the state is not known, or 0 */
        bool listening; /* somebody listens at a socket of this name, in whatever mount namespace */
} StatusPath;

#define STATUS_PATHS_MAX 3

typedef struct StatusMeta {
        char *key;
        char *value;
} StatusMeta;

typedef struct StatusCalls {
        char method[TALLY_METHOD_MAX + 1];
        TallyCell minute; /* the last complete minute of the clock */
        TallyCell hour;   /* the last 60, this one included */
} StatusCalls;

typedef struct Status {
        uint64_t now_ns;
        StatusAlive podspand;
        StatusAlive podspan_cri;
        char *cri_socket; /* on which podspan-cri listens; NULL if not seen */
        StatusPath paths[STATUS_PATHS_MAX];
        bool sockets_known; /* who listens */

        int state_error; /* why the state directory cannot be read, or 0 */
        int watch_error; /* why there is no @watch: -ENOENT if podspan-watch was never started; or 0 */
        WatchState watch;

        bool monitors_known;
        unsigned n_monitors; /* processes of this name: a process gives itself its name */

        bool store_known;
        char *store_error; /* why it is not; NULL without memory */
        StoreDbStats store;
        StatusMeta meta[STATUS_META_MAX];
        size_t n_meta;

        bool config_known;
        bool config_unreadable; /* for this user: it may be right */
        char *config_error;
        Config config;

        bool counters_known;
        uint64_t counters[_COUNTERS_PRODUCER_MAX][_COUNTERS_ID_MAX];

        StatusCalls calls[TALLY_METHODS];
        size_t n_calls;
} Status;

/*
 * Does podspand hold the lock on the store? /proc/locks says it; where it does not, the lock is taken shared for a
 * moment. Who may do neither gets STATUS_UNKNOWN.
 */
StatusAlive status_podspand(const Cli *cli);

/* Is there a write lock of flock(2) on the inode in @text, which is /proc/locks? No I/O. */
bool status_find_lock(const char *text, dev_t device, ino_t inode);

/* Gathers everything; what cannot be known is said in the result. Returns 0 or -ENOMEM. */
int status_gather(const Cli *cli, Status *ret);
void status_deinit(Status *status);

/* The value of @key in the store's table meta, or NULL; as a number, 0 if absent or none. */
const char *status_meta(const Status *status, const char *key);
uint64_t status_meta_u64(const Status *status, const char *key);
