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
        Reports reports;
        uint64_t n_dropped; /* spans above a bound, or without memory */
} Tell;

/* Gives @consume_span of @node to the host, or to the probe above. */
void tell_span(Tell *tell, Node *node, Span *consume_span);

/*
 * A span of what @node did until @time_ns and a program of podspan's reports within @limit_ns: holds it back while that
 * program runs, gives it to the host if the program was killed, frees it if the program has reported.
 */
void tell_report(Tell *tell, const Node *node, Span *consume_span, uint64_t time_ns, uint64_t limit_ns);

/* The span of the ended @node, which is withheld: likewise. */
void tell_withheld(Tell *tell, const Node *node);

/*
 * The process of @node, a reporter, has ended as @event says. If it was killed, gives the host what it has not
 * reported, and a failed span of its own; that of a monitor that has run for longer than @start_window_ns is in a trace
 * of its own.
 */
void tell_reporter_end(Tell *tell, Node *node, const Event *event, const Clk *now, uint64_t start_window_ns);

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
