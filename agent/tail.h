#pragma once

/*
 * Tail rules
 *
 * Decisions made after the fact (decision 7 of the design): a trace with a failed span (`tracing_keep_errors`) or a
 * span longer than `tracing_keep_slower_than` is exported although nobody sampled it. The decision is sticky: it stands
 * in the store's keep table, and spans of the trace that come later follow it. What was stored before it is promoted
 * from the local batches. A span that is exported for this alone has the attribute podspan.kept.
 */

#include "ingest.h"
#include "store.h"

typedef struct TailRules {
        bool errors;
        uint64_t slower_than_ns; /* 0: off */
} TailRules;

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
