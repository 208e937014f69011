#include <assert.h>
#include <string.h>
#include "spanlinks.h"

static bool same_span(const TraceContext *a, const TraceContext *b) {
        return memcmp(a->span_id, b->span_id, sizeof(a->span_id)) == 0;
}

void spanlinks_add(SpanLinks *links, const TraceContext *to, const char *why) {
        assert(links);
        assert(to);

        if (links->n == SPAN_LINKS_MAX)
                return;
        for (size_t i = 0; i < links->n; i++)
                if (same_span(&links->at[i].to, to))
                        return;

        links->at[links->n].to = *to;
        links->at[links->n++].why = why;
}

void spanlinks_set(const SpanLinks *links, const TraceContext *parent, Span *span) {
        assert(links);
        assert(parent);

        for (size_t i = 0; i < links->n; i++)
                if (!same_span(&links->at[i].to, parent))
                        span_link(span, &links->at[i].to, links->at[i].why);
}
