#pragma once

/*
 * Span links
 *
 * What a span that is still to be made will link to. Bounded as a span's links are; each span is linked to once, by the
 * reason that came first.
 */

#include "span.h"

typedef struct SpanLinks {
        struct {
                TraceContext to;
                const char *why; /* a literal */
        } at[SPAN_LINKS_MAX];
        size_t n;
} SpanLinks;

/* Adds a link to @to because of @why (a literal), unless there is one to that span or there are SPAN_LINKS_MAX. */
void spanlinks_add(SpanLinks *links, const TraceContext *to, const char *why);

/* Gives @span, whose parent is @parent, all of @links but one to that parent. */
void spanlinks_set(const SpanLinks *links, const TraceContext *parent, Span *span);
