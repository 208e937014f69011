#pragma once

/*
 * Tell
 *
 * Makes the spans of a finished node, with its phases and what they spent their time with, and gives them to the host,
 * or holds them back for a probe that is not decided on yet.
 */

#include "node.h"
#include "story.h"

typedef struct Tell {
        StoryHost host;
        uint64_t n_dropped; /* spans above a bound, or without memory */
} Tell;

/* Gives @consume_span of @node to the host, or to the probe above. */
void tell_span(Tell *tell, Node *node, Span *consume_span);

/* The span of the ended @node, its phases and its work. */
void tell_node(Tell *tell, Node *node);

/* A span of the time from @begin_ns to @end_ns in @node's life, in @context below @parent; @pid 0: nobody's. */
int tell_time(Tell *tell, Node *node, const char *name, const TraceContext *context, const TraceContext *parent,
              uint64_t begin_ns, uint64_t end_ns, uint32_t pid);

/* What @engine itself did while @call alone was in flight. Files that it works with closely one after the other are one
 * span, with the longer pieces below. */
void tell_engine(Tell *tell, const Node *engine, const StoryCall *call);

/* Was a probe that has ended worth its spans? */
void tell_probe(Tell *tell, Node *node, uint64_t slow_ns);
