#include <assert.h>
#include <string.h>
#include "otlpjson.h"
#include "trace.h"

static void span_deinit(TraceSpan *span) {
        free(span->name);
        free(span->service);
        free(span->pod_uid);
        free(span->pod_name);
        free(span->pod_namespace);
        free(span->container_name);
        free(span->container_id);
        free(span->why);
        for (unsigned i = 0; i < span->n_links; i++)
                free(span->links[i].why);
}

void trace_deinit(Trace *trace) {
        for (uint32_t i = 0; i < trace->n_spans; i++)
                span_deinit(&trace->spans[i]);
        free(trace->spans);
        free(trace->order);
        free(trace->node);
        *trace = (Trace) TRACE_NULL;
}

static char *dup_bounded(const char *s) {
        char buf[TRACE_TEXT_MAX + 1];

        util_copy_bounded(buf, sizeof(buf), s, strlen(s));
        return strdup(buf);
}

static int on_span(const StoreDbSpan *row, void *userdata) {
        Trace *trace = userdata;
        TraceSpan span = {
                .has_parent = row->has_parent,
                .start_ns = row->start_ns,
                .end_ns = MAX(row->start_ns, row->end_ns),
                .kind = row->kind,
                .outcome = row->outcome,
                .verdict = row->verdict,
                .flags = row->flags,
                .batch = row->batch,
        };

        if (trace->n_spans == TRACE_SPANS_MAX)
                return 0;
        memcpy(span.span_id, row->span_id, sizeof(span.span_id));
        memcpy(span.parent_id, row->parent_id, sizeof(span.parent_id));
        span.name = dup_bounded(row->name);
        span.service = dup_bounded(row->service);
        span.pod_uid = dup_bounded(row->pod_uid);
        span.pod_name = dup_bounded(row->pod_name);
        span.pod_namespace = dup_bounded(row->pod_namespace);
        span.container_name = dup_bounded(row->container_name);
        span.container_id = dup_bounded(row->container_id);
        span.why = dup_bounded(row->why);

        trace->spans[trace->n_spans++] = span;
        return span.name && span.service && span.pod_uid && span.pod_name && span.pod_namespace &&
                               span.container_name && span.container_id && span.why
                       ? 0
                       : -ENOMEM;
}

/* Open addressing over span ids: index + 1, or 0 for an empty slot. */
typedef struct Index {
        uint32_t *slots;
        uint32_t mask;
} Index;

static int index_init(Index *index, const Trace *trace) {
        uint32_t size = 16;

        while (size < 2 * trace->n_spans)
                size *= 2;
        index->slots = calloc(size, sizeof(*index->slots));
        if (!index->slots)
                return -ENOMEM;
        index->mask = size - 1;

        for (uint32_t i = 0; i < trace->n_spans; i++) {
                uint32_t slot = (uint32_t) util_hash(UTIL_HASH_INIT, trace->spans[i].span_id, 8) & index->mask;

                while (index->slots[slot] != 0)
                        slot = (slot + 1) & index->mask;
                index->slots[slot] = i + 1;
        }
        return 0;
}

static uint32_t index_find(const Index *index, const Trace *trace, const uint8_t span_id[static 8]) {
        uint32_t slot = (uint32_t) util_hash(UTIL_HASH_INIT, span_id, 8) & index->mask;

        for (; index->slots[slot] != 0; slot = (slot + 1) & index->mask)
                if (memcmp(trace->spans[index->slots[slot] - 1].span_id, span_id, 8) == 0)
                        return index->slots[slot] - 1;
        return TRACE_NONE;
}

/* Appends the subtree of @root to the order. Iterative: a hostile trace may be one chain. */
static void visit(Trace *trace, uint32_t root, bool *visited, uint32_t *n_order) {
        uint32_t at = root;

        for (;;) {
                TraceSpan *span = &trace->spans[at];
                uint32_t next;

                visited[at] = true;
                trace->order[(*n_order)++] = at;
                span->depth = at == root ? 0 : trace->spans[span->parent].depth + 1;

                next = span->first_child;
                while (next == TRACE_NONE && at != root) {
                        next = trace->spans[at].next_sibling;
                        if (next == TRACE_NONE)
                                at = trace->spans[at].parent;
                }
                if (next == TRACE_NONE)
                        return;
                at = next;
        }
}

/* Takes @i out of its parent's children: what comes here is in a ring that no root leads to. */
static void detach(Trace *trace, uint32_t i) {
        uint32_t *p = &trace->spans[trace->spans[i].parent].first_child;

        while (*p != i)
                p = &trace->spans[*p].next_sibling;
        *p = trace->spans[i].next_sibling;
        trace->spans[i].next_sibling = TRACE_NONE;
        trace->spans[i].parent = TRACE_NONE;
        trace->spans[i].orphan = true;
}

int trace_build(Trace *trace) {
        _cleanup_free_ uint32_t *slots = NULL;
        _cleanup_free_ bool *visited = NULL;
        Index index = {};
        uint32_t n_order = 0;
        int r;

        r = index_init(&index, trace);
        if (r < 0)
                return r;
        slots = index.slots;

        visited = calloc(trace->n_spans + 1, sizeof(*visited));
        free(trace->order);
        trace->order = calloc(trace->n_spans + 1, sizeof(*trace->order));
        if (!visited || !trace->order)
                return -ENOMEM;

        trace->start_ns = UINT64_MAX;
        trace->end_ns = 0;
        trace->n_errors = trace->n_orphans = trace->n_unsampled = 0;
        for (uint32_t i = 0; i < trace->n_spans; i++) {
                TraceSpan *span = &trace->spans[i];

                span->first_child = span->next_sibling = TRACE_NONE;
                span->parent = span->has_parent ? index_find(&index, trace, span->parent_id) : TRACE_NONE;
                if (span->parent == i)
                        span->parent = TRACE_NONE;
                span->orphan = span->has_parent && span->parent == TRACE_NONE;
                trace->start_ns = MIN(trace->start_ns, span->start_ns);
                trace->end_ns = MAX(trace->end_ns, span->end_ns);
                trace->n_errors += span->verdict == STOREDB_FAILED;
                trace->n_unsampled += trace_span_unsampled(span);
        }

        /* From the last to the first, each put in front: children end up in the order of their start. */
        for (uint32_t i = trace->n_spans; i-- > 0;) {
                TraceSpan *span = &trace->spans[i];

                if (span->parent == TRACE_NONE)
                        continue;
                span->next_sibling = trace->spans[span->parent].first_child;
                trace->spans[span->parent].first_child = i;
        }

        /* Roots by start, orphans among them; then what is left is in rings, which are cut where they start. */
        for (uint32_t i = 0; i < trace->n_spans; i++)
                if (trace->spans[i].parent == TRACE_NONE)
                        visit(trace, i, visited, &n_order);
        for (uint32_t i = 0; i < trace->n_spans; i++)
                if (!visited[i]) {
                        detach(trace, i);
                        visit(trace, i, visited, &n_order);
                }
        assert(n_order == trace->n_spans);

        for (uint32_t i = 0; i < trace->n_spans; i++) {
                trace->spans[i].last = trace->spans[i].next_sibling == TRACE_NONE;
                trace->n_orphans += trace->spans[i].orphan;
        }
        return 0;
}

typedef struct Details {
        Trace *trace;
        Index index;
        int64_t batch;
} Details;

static const char *string_attribute(size_t n, Podspan__Otlp__KeyValue **attributes, const char *key) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(attributes[i]->key, key) == 0 && attributes[i]->value &&
                    attributes[i]->value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
                        return attributes[i]->value->string_value;
        return NULL;
}

static int add_details(const Details *details, const Podspan__Otlp__Span *from) {
        TraceSpan *span;
        uint32_t i;

        if (from->span_id.len != 8 || from->trace_id.len != 16 ||
            memcmp(from->trace_id.data, details->trace->trace_id, 16) != 0)
                return 0;
        i = index_find(&details->index, details->trace, from->span_id.data);
        if (i == TRACE_NONE || details->trace->spans[i].batch != details->batch)
                return 0;

        span = &details->trace->spans[i];
        if (span->outcome != OUTCOME_OK) {
                char why[OUTCOME_WHY_MAX + 1];
                OutcomeFacts facts;

                /* The row of a store that was converted does not say it. */
                outcome_read(from, &facts);
                (void) outcome_why(&facts, span->outcome, why);
                free(span->why);
                span->why = strdup(why);
                if (!span->why)
                        return -ENOMEM;
        }

        /* The same span may stand twice in one batch. */
        if (span->n_links > 0)
                return 0;
        for (size_t l = 0; l < from->n_links && span->n_links < TRACE_LINKS_MAX; l++) {
                const Podspan__Otlp__Link *link = from->links[l];
                const char *why = string_attribute(link->n_attributes, link->attributes, "podspan.link");
                TraceLink *to = &span->links[span->n_links];

                if (link->trace_id.len != 16)
                        continue;
                memcpy(to->trace_id, link->trace_id.data, 16);
                if (why) {
                        to->why = dup_bounded(why);
                        if (!to->why)
                                return -ENOMEM;
                }
                span->n_links++;
        }
        return 0;
}

static int on_batch(int64_t batch, const uint8_t *data, size_t len, void *userdata) {
        _cleanup_otlpjson_ Podspan__Otlp__TracesData *message = NULL;
        Details *details = userdata;

        /* The rows of the table span say enough to go on without. */
        if (otlpjson_unpack(data, len, &message) < 0)
                return 0;

        details->batch = batch;
        for (size_t r = 0; r < message->n_resource_spans; r++) {
                const Podspan__Otlp__ResourceSpans *resource_spans = message->resource_spans[r];
                const Podspan__Otlp__Resource *resource = resource_spans->resource;

                if (resource && !details->trace->node) {
                        const char *node =
                                string_attribute(resource->n_attributes, resource->attributes, "k8s.node.name");

                        if (!node)
                                node = string_attribute(resource->n_attributes, resource->attributes, "host.name");
                        if (node) {
                                details->trace->node = dup_bounded(node);
                                if (!details->trace->node)
                                        return -ENOMEM;
                        }
                }
                for (size_t s = 0; s < resource_spans->n_scope_spans; s++)
                        for (size_t i = 0; i < resource_spans->scope_spans[s]->n_spans; i++) {
                                int error = add_details(details, resource_spans->scope_spans[s]->spans[i]);

                                if (error < 0)
                                        return error;
                        }
        }
        return 0;
}

int trace_load(StoreDb *db, const uint8_t trace_id[static 16], Trace *ret) {
        _cleanup_(trace_deinit) Trace trace = TRACE_NULL;
        _cleanup_free_ uint32_t *slots = NULL;
        Details details = { .trace = &trace };
        int r;

        memcpy(trace.trace_id, trace_id, 16);
        r = storedb_count(db, trace_id, &trace.n_total);
        if (r < 0)
                return r;
        if (trace.n_total == 0)
                return -ENOENT;

        trace.spans = calloc(MIN(trace.n_total, (uint64_t) TRACE_SPANS_MAX), sizeof(*trace.spans));
        if (!trace.spans)
                return -ENOMEM;
        /* Spans may have arrived since they were counted. */
        r = storedb_spans(db, trace_id, MIN(trace.n_total, (uint64_t) TRACE_SPANS_MAX), on_span, &trace);
        if (r < 0)
                return r;
        if (trace.n_spans == 0)
                return -ENOENT;

        r = index_init(&details.index, &trace);
        if (r < 0)
                return r;
        slots = details.index.slots;
        r = storedb_batches(db, trace_id, on_batch, &details);
        if (r < 0)
                return r;

        r = trace_build(&trace);
        if (r < 0)
                return r;

        *ret = trace;
        trace = (Trace) TRACE_NULL;
        return 0;
}
