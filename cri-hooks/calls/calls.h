#pragma once

/*
 * Calls
 *
 * What becomes of the CRI calls a tap sees: trace context by decision 2, context files by decision 3, spans and counts
 * by decision 8, and what is learned about pods and containers on the way. One Calls serves all connections.
 */

#include "clk.h"
#include "config.h"
#include "context.h"
#include "crimsg.h"
#include "podmap.h"
#include "sampler.h"
#include "spool.h"
#include "tally.h"
#include "tap.h"

#define CALLS_SERVICE     "podspan-cri"
#define CALLS_MAX         8192                     /* followed at a time, over all connections */
#define CALLS_SPANS_MAX   16                       /* spans that wait to be written */
#define CALLS_STARTS_MAX  32                       /* start files that wait likewise */
#define CALLS_ENDED_MAX   32                       /* calls that are over and wait for calls_settle() */
#define CALLS_JOIN_NS     (15 * 60 * NSEC_PER_SEC) /* a start is over this long after its last call */
#define CALLS_LIST_NS     (60 * NSEC_PER_SEC)      /* List replies are read at least this often */
#define CALLS_YOUNG_NS    (5 * NSEC_PER_MSEC)      /* a call that lasts longer gets a context file */
#define CALLS_DEADLINE_NS (5 * NSEC_PER_MSEC)      /* a reset this close to the deadline is its doing */

typedef struct Call Call;
typedef struct Calls Calls;

/* What waits to be written. */
typedef enum CallsWork {
        CALLS_SPANS, /* calls_flush() */
        CALLS_ENDED, /* calls_settle() */
        CALLS_YOUNG, /* calls_show() */
} CallsWork;

typedef void (*CallsWakeFn)(Calls *calls, CallsWork work);

/* Which List replies are worth reading. */
typedef struct CallsList {
        uint64_t read_ns; /* monotonic time of the last one that was read, 0: none */
        bool wanted;      /* an id was not known */
} CallsList;

struct Calls {
        const Config *config; /* borrowed */
        const char *runtime;  /* borrowed: path of the runtime's socket */
        CallsWakeFn wake;     /* called when the first of a kind of work begins to wait */
        int state_fd;         /* borrowed, may be negative */
        Sampler sampler;
        CriLinks links;
        Podmap *podmap;
        Counters *counters;
        Tally *tally;
        Context context;
        Spool spool;
        CallsList sandboxes;
        CallsList containers;
        unsigned n_calls; /* that are followed, or over and not done with */
        Clk now;          /* when the bytes being looked at were read: calls_set_now() */
        Span *spans[CALLS_SPANS_MAX];
        unsigned n_spans;
        char *starts[CALLS_STARTS_MAX]; /* ids whose start files wait to be written */
        unsigned n_starts;
        Call *ended; /* calls that are over, oldest first */
        Call **ended_tail;
        unsigned n_ended;
        Call *young[CONTEXTYOUNG_SLOTS]; /* calls that have no file yet, by slot */
        bool showing;                    /* who is woken for them is */
};

#define CALLS_NULL \
        { .state_fd = -EBADF, .context = CONTEXT_NULL, .spool = SPOOL_NULL }

/*
 * Opens context files, counters, tally and spool below @state_fd and learns from the start files there. What is not
 * usable is logged and done without. Returns 0 or -ENOMEM. Everything passed in is borrowed.
 */
int calls_init(Calls *calls, const Config *config, const char *runtime, int state_fd, CallsWakeFn wake);
/* Writes what waits. */
void calls_deinit(Calls *calls);

/* What a tap of these calls needs: its ops (with @calls as userdata), and whether it may change anything. */
extern const TapOps calls_tap_ops;
bool calls_may_inject(const Calls *calls);

/* To be called for each read, before the tap sees it: one look at the clocks for all that came in it. */
static inline void calls_set_now(Calls *calls) {
        calls->now = clk_now();
}

/*
 * Does what is left about calls that are over: makes their spans, learns from them, writes start files. Where a call
 * depends on it, it is done before that; a client that calls again at once need not wait for more.
 */
void calls_settle(Calls *calls);

/*
 * Gives calls in flight that have lasted CALLS_YOUNG_NS their files, with @all the younger ones as well. Returns in how
 * many nanoseconds the next ones are due, 0 if there are none.
 */
uint64_t calls_show(Calls *calls, bool all);

/* The configuration has changed. */
void calls_reload(Calls *calls);

/* Writes the spans that wait. */
void calls_flush(Calls *calls);
/* Once a minute: sweeps the context files, and tells of the calls of a podspan-cri that died. */
void calls_tick(Calls *calls);
