#pragma once

/*
 * Trace
 *
 * The spans of one trace in memory, as a tree: bounded in number, each span once, in an order that can be printed.
 * Robust against what a store may hold: missing parents, parents that form a ring, spans that end before they start.
 */

#include "storedb.h"

#define TRACE_SPANS_MAX 10000 /* spans kept and shown; of a larger trace the first by start */
#define TRACE_TEXT_MAX  255   /* bytes of a name kept */
#define TRACE_LINKS_MAX 8     /* links of a span kept */
#define TRACE_NONE      UINT32_MAX

typedef struct TraceLink {
        uint8_t trace_id[16];
        char *why; /* attribute podspan.link; NULL if none */
} TraceLink;

typedef struct TraceSpan {
        uint8_t span_id[8];
        uint8_t parent_id[8];
        bool has_parent;
        bool orphan; /* has a parent that is not here, or only in a ring */
        uint64_t start_ns;
        uint64_t end_ns; /* never before start_ns */
        int kind;
        Outcome outcome;
        StoreDbVerdict verdict;
        uint32_t flags;
        int64_t batch;
        char *name; /* never NULL, like all strings below unless said */
        char *service;
        char *pod_uid;
        char *pod_name;
        char *pod_namespace;
        char *container_name;
        char *container_id;
        char *why; /* outcome_why(): exit code, signal, the runtime's words; "" with OUTCOME_OK */
        TraceLink links[TRACE_LINKS_MAX];
        unsigned n_links;
        uint32_t parent; /* indices into Trace.spans, or TRACE_NONE */
        uint32_t first_child;
        uint32_t next_sibling;
        unsigned depth;
        bool last; /* the last of its siblings */
} TraceSpan;

typedef struct Trace {
        uint8_t trace_id[16];
        TraceSpan *spans; /* by start */
        uint32_t n_spans;
        uint64_t n_total; /* in the store */
        uint32_t *order;  /* n_spans indices: depth first, siblings by start */
        uint64_t start_ns;
        uint64_t end_ns;
        unsigned n_errors;
        unsigned n_orphans;
        unsigned n_unsampled;
        char *node; /* k8s.node.name or host.name of a resource; NULL if none says */
} Trace;

#define TRACE_NULL \
        {}

/* Loads the trace and builds its tree. Returns 0 with @ret owned by the caller, -ENOENT if the store has no span of it,
 * or a negative errno. */
int trace_load(StoreDb *db, const uint8_t trace_id[static 16], Trace *ret);
void trace_deinit(Trace *trace);

/* For tests, and used by trace_load(): links the spans of @trace, sorted by start, into a tree and fills the figures. 0
 * or -ENOMEM. */
int trace_build(Trace *trace);

/* Was this span recorded only locally: W3C flags known, sampled bit not set? */
static inline bool trace_span_unsampled(const TraceSpan *span) {
        return (span->flags & 1) == 0;
}
