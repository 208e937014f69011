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
#include "grpcmsg.h"
#include "podmap.h"
#include "sampler.h"
#include "spool.h"
#include "tally.h"
#include "tap.h"

#define CALLS_SERVICE     "podspan-cri"
#define CALLS_SPANS_MAX   64                       /* spans that wait to be written */
#define CALLS_STARTS_MAX  32                       /* start files that wait likewise */
#define CALLS_ENDED_MAX   32                       /* calls that are over and wait for calls_settle() */
#define CALLS_JOIN_NS     (15 * 60 * NSEC_PER_SEC) /* a start is over this long after its last call */
#define CALLS_LIST_NS     (60 * NSEC_PER_SEC)      /* List replies are read at least this often */
#define CALLS_DEADLINE_NS (5 * NSEC_PER_MSEC)      /* a reset this close to the deadline is its doing */

typedef struct Call Call;
typedef struct Calls Calls;

/* What waits to be written. */
typedef enum CallsWork {
        CALLS_SPANS, /* calls_flush() */
        CALLS_ENDED, /* calls_settle() */
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
        Clk now; /* when the bytes being looked at were read: calls_set_now() */
        Span *spans[CALLS_SPANS_MAX];
        unsigned n_spans;
        char *starts[CALLS_STARTS_MAX]; /* ids whose start files wait to be written */
        unsigned n_starts;
        Call *ended; /* calls that are over, oldest first */
        Call **ended_tail;
        unsigned n_ended;
};

#define CALLS_NULL \
        { .state_fd = -EBADF, .context = CONTEXT_NULL, .spool = SPOOL_NULL }

/* A message being read. */
typedef struct CallScan {
        CriScan scan;
        CriFields item; /* of a List reply */
        bool active;
} CallScan;

/* How a call ended, as the span shows it. */
typedef struct CallEnd {
        TapEnd how;
        int status;      /* gRPC's, -1: not known */
        uint64_t end_ns; /* wall clock */
        uint64_t duration_ns;
        char *message; /* may be NULL */
} CallEnd;

struct Call {
        TapStream stream;
        Calls *calls;
        const Method *method;
        char *path; /* where it is not the method's name */
        Clk start;
        uint64_t timeout_ns;     /* 0: none */
        TraceContext parent;     /* zero: none */
        TraceContext context;    /* valid if has_context */
        TraceContext start_link; /* of the sandbox's or container's start; zero: none */
        bool has_caller;         /* parent is the caller's */
        bool has_context;
        bool completed;  /* the request */
        bool joined;     /* to the trace of a sandbox's start */
        bool compressed; /* counted */
        GrpcMsg request;
        GrpcMsg reply;
        CallScan *scan;
        CriFields *fields;
        ContextHandle *handle;
        CallEnd end; /* when it is over: */
        bool slow;
        Call *next_ended;
};

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
 * Does what is left about calls that are over: takes their context files away, makes their spans, learns from them.
 * What comes next may depend on it, and then it is done before that; but a client that calls again at once need not
 * wait.
 */
void calls_settle(Calls *calls);

/* Writes the spans that wait. */
void calls_flush(Calls *calls);
/* Once a minute: sweeps the context files. */
void calls_tick(Calls *calls);

/* "runtime.v1.RuntimeService/RunPodSandbox" */
const char *call_name(const Call *call);
/* All that is known of whose call it is. @ret must be zero. */
void call_identity(const Call *call, Identity *ret);
