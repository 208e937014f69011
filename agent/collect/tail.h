#pragma once

/*
 * Tail rules
 *
 * Decisions made after the fact: a trace with a failed span (outcome.h; `tracing_keep_errors`) or a span longer than
 * `tracing_keep_slower_than` is exported although nobody sampled it. A container that a stop call ended has not failed;
 * the span of the stop call comes after that of the container, so the decision waits. A decision is sticky: it stands
 * in the store's keep table, and spans of the trace that come later follow it. What was stored before it is promoted
 * from the local batches. A span that is exported for this alone has the attribute podspan.kept.
 */

#include "ingest.h"
#include "store.h"

#define TAIL_WAIT_NS    (5 * NSEC_PER_SEC) /* an end of a container waits so long for the span of its stop call */
#define TAIL_DECIDE_MAX 256                /* ends that one turn decides on */

typedef struct TailRules {
        bool errors;
        uint64_t slower_than_ns; /* 0: off */
} TailRules;

/*
 * Finds out whether a stop call that is in flight has ended the container. @fn returns the id that the call stops
 * (valid until the next call of it) with when it began, or NULL; @fn itself may be NULL.
 */
typedef struct TailStopping {
        const char *(*fn)(const StoreUndecided *undecided, uint64_t *ret_began_ns, void *userdata);
        void *userdata;
} TailStopping;

/* Enters the stops among @rows into the store: before tail_apply(), and also where no rule is on. 0 or an errno. */
int tail_note_stops(Store *store, const IngestRow *rows, size_t n);

/*
 * Decides on the ends of containers that have waited TAIL_WAIT_NS. Those that no stop call began before are failures.
 * @ret_more: there are more than TAIL_DECIDE_MAX. Within a transaction. Returns 0 or a negative errno.
 */
int tail_decide(const TailRules *rules, Store *store, uint64_t now_ns, const TailStopping *stopping, bool *ret_more);

/*
 * Why @row makes its trace worth keeping ("error", "slow"; static), or NULL. Spans that live as long as a container
 * does are never slow.
 */
const char *tail_judge(const TailRules *rules, const IngestRow *row);

/*
 * Judges @rows, enters what is chosen into the keep table and sets target and reason of those that follow a decision.
 * Within a transaction. Returns 0 with the number of rows that are exported for it, or a negative errno.
 */
int tail_apply(const TailRules *rules, Store *store, IngestRow *rows, size_t n, uint64_t now_ns, size_t *ret_n_kept);
