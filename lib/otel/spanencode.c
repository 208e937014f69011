#include <assert.h>
#include <errno.h>
#include <string.h>
#include "otlp.pb-c.h"
#include "spandata.h"

#define SCOPE_NAME "podspan"
#define CHUNK_SIZE 8192

/* Memory for the protobuf-c structures of one encoding: given out piece by piece, released as a whole. */
typedef struct Chunk {
        struct Chunk *next;
        size_t used;
        size_t size;
        _Alignas(max_align_t) char data[];
} Chunk;

static void chunks_freep(Chunk **chunks) {
        while (*chunks) {
                Chunk *next = (*chunks)->next;

                free(*chunks);
                *chunks = next;
        }
}

static void *chunks_alloc(Chunk **chunks, size_t size) {
        Chunk *chunk = *chunks;
        void *p;

        size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

        if (!chunk || chunk->size - chunk->used < size) {
                size_t data_size = MAX(size, (size_t) CHUNK_SIZE);

                chunk = malloc(sizeof(*chunk) + data_size);
                if (!chunk)
                        return NULL;
                chunk->used = 0;
                chunk->size = data_size;
                chunk->next = *chunks;
                *chunks = chunk;
        }

        p = chunk->data + chunk->used;
        chunk->used += size;
        return p;
}

static Podspan__Otlp__KeyValue *encode_string(Chunk **chunks, const char *key, const char *value) {
        struct {
                Podspan__Otlp__KeyValue pair;
                Podspan__Otlp__AnyValue value;
        } * both;

        both = chunks_alloc(chunks, sizeof(*both));
        if (!both)
                return NULL;

        podspan__otlp__key_value__init(&both->pair);
        podspan__otlp__any_value__init(&both->value);
        both->pair.key = (char *) key;
        both->pair.value = &both->value;
        both->value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        both->value.string_value = (char *) value;
        return &both->pair;
}

static Podspan__Otlp__KeyValue *encode_attr(Chunk **chunks, const Span *span, const SpanAttr *attr) {
        Podspan__Otlp__KeyValue *pair;

        pair = encode_string(chunks, attr->key, attr->type == SPAN_ATTR_STRING ? span_text(span, attr->string) : NULL);
        if (!pair || attr->type == SPAN_ATTR_STRING)
                return pair;

        if (attr->type == SPAN_ATTR_INT) {
                pair->value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
                pair->value->int_value = attr->number;
        } else {
                pair->value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
                pair->value->bool_value = attr->number != 0;
        }
        return pair;
}

static int encode_attrs(Chunk **chunks, const Span *span, const SpanAttr *attrs, size_t n,
                        Podspan__Otlp__KeyValue ***ret, size_t *ret_n) {
        Podspan__Otlp__KeyValue **pairs = chunks_alloc(chunks, n * sizeof(*pairs));

        if (!pairs)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                pairs[i] = encode_attr(chunks, span, &attrs[i]);
                if (!pairs[i])
                        return -ENOMEM;
        }
        *ret = pairs;
        *ret_n = n;
        return 0;
}

static ProtobufCBinaryData bytes_of(const uint8_t *bytes, size_t size) {
        return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *) bytes };
}

static int encode_links(Chunk **chunks, const Span *span, Podspan__Otlp__Span *to) {
        to->links = chunks_alloc(chunks, span->n_links * sizeof(*to->links));
        if (!to->links)
                return -ENOMEM;

        for (size_t i = 0; i < span->n_links; i++) {
                const SpanLink *from = &span->links[i];
                Podspan__Otlp__Link *link = chunks_alloc(chunks, sizeof(*link));

                if (!link)
                        return -ENOMEM;

                podspan__otlp__link__init(link);
                link->trace_id = bytes_of(from->to.trace_id, sizeof(from->to.trace_id));
                link->span_id = bytes_of(from->to.span_id, sizeof(from->to.span_id));
                link->flags = from->to.flags;
                if (from->why) {
                        link->attributes = chunks_alloc(chunks, sizeof(*link->attributes));
                        if (!link->attributes)
                                return -ENOMEM;
                        link->attributes[0] = encode_string(chunks, "podspan.link", from->why);
                        if (!link->attributes[0])
                                return -ENOMEM;
                        link->n_attributes = 1;
                }
                to->links[to->n_links++] = link;
        }
        return 0;
}

static int encode_events(Chunk **chunks, const Span *span, Podspan__Otlp__Span *to) {
        int r;

        to->events = chunks_alloc(chunks, span->n_events * sizeof(*to->events));
        if (!to->events)
                return -ENOMEM;

        for (size_t i = 0; i < span->n_events; i++) {
                Podspan__Otlp__Event *event = chunks_alloc(chunks, sizeof(*event));

                if (!event)
                        return -ENOMEM;

                podspan__otlp__event__init(event);
                event->name = (char *) span->events[i].name;
                event->time_unix_nano = span->events[i].time_ns;
                event->dropped_attributes_count = span->events[i].n_dropped_attrs;
                r = encode_attrs(chunks, span, span->events[i].attrs, span->events[i].n_attrs, &event->attributes,
                                 &event->n_attributes);
                if (r < 0)
                        return r;
                to->events[to->n_events++] = event;
        }
        return 0;
}

static int encode_status(Chunk **chunks, const Span *span, Podspan__Otlp__Span *to) {
        if (span->status == SPAN_STATUS_UNSET)
                return 0;

        to->status = chunks_alloc(chunks, sizeof(*to->status));
        if (!to->status)
                return -ENOMEM;

        podspan__otlp__status__init(to->status);
        to->status->code = (int32_t) span->status;
        to->status->message = span_text(span, span->message);
        return 0;
}

static int encode_span(Chunk **chunks, const Span *span, Podspan__Otlp__Span **ret) {
        Podspan__Otlp__Span *to;
        int r;

        to = chunks_alloc(chunks, sizeof(*to));
        if (!to)
                return -ENOMEM;

        podspan__otlp__span__init(to);
        to->trace_id = bytes_of(span->context.trace_id, sizeof(span->context.trace_id));
        to->span_id = bytes_of(span->context.span_id, sizeof(span->context.span_id));
        if (span->has_parent)
                to->parent_span_id = bytes_of(span->parent_id, sizeof(span->parent_id));
        to->trace_state = span_text(span, span->tracestate);
        to->name = span_text(span, span->name);
        to->kind = (int32_t) span->kind;
        to->start_time_unix_nano = span->start_ns;
        to->end_time_unix_nano = span->end_ns;
        to->flags = span->context.flags | span->remote_flags;
        to->dropped_attributes_count = span->n_dropped_attrs;
        to->dropped_links_count = span->n_dropped_links;
        to->dropped_events_count = span->n_dropped_events;

        r = encode_attrs(chunks, span, span->attrs, span->n_attrs, &to->attributes, &to->n_attributes);
        if (r == 0)
                r = encode_links(chunks, span, to);
        if (r == 0)
                r = encode_events(chunks, span, to);
        if (r == 0)
                r = encode_status(chunks, span, to);
        if (r < 0)
                return r;

        *ret = to;
        return 0;
}

/* One pod's ResourceSpans while it grows. */
typedef struct Group {
        const char *uid;
        const char *name;
        const char *ns;
        size_t n_spans;
        Podspan__Otlp__ResourceSpans resource_spans;
        Podspan__Otlp__Resource resource;
        Podspan__Otlp__ScopeSpans scope_spans;
        Podspan__Otlp__ScopeSpans *scope_spans_list[1];
        Podspan__Otlp__KeyValue *attributes[4];
} Group;

/* A UID tells pods apart; where one is missing, name and namespace must do. */
static bool group_matches(const Group *group, const Span *span) {
        const char *uid = span_text(span, span->pod_uid);

        if (*uid || *group->uid)
                return strcmp(uid, group->uid) == 0;

        return strcmp(span_text(span, span->pod_name), group->name) == 0 &&
               strcmp(span_text(span, span->pod_namespace), group->ns) == 0;
}

static Group *group_find(Podspan__Otlp__ResourceSpans *const *list, size_t n, const Span *span) {
        for (size_t i = 0; i < n; i++) {
                Group *group = container_of(list[i], Group, resource_spans);

                if (group_matches(group, span))
                        return group;
        }
        return NULL;
}

static Group *group_new(Chunk **chunks, Podspan__Otlp__InstrumentationScope *scope, const Span *span) {
        Group *group;

        group = chunks_alloc(chunks, sizeof(*group));
        if (!group)
                return NULL;

        *group = (Group){
                .uid = span_text(span, span->pod_uid),
                .name = span_text(span, span->pod_name),
                .ns = span_text(span, span->pod_namespace),
                .resource_spans = PODSPAN__OTLP__RESOURCE_SPANS__INIT,
                .resource = PODSPAN__OTLP__RESOURCE__INIT,
                .scope_spans = PODSPAN__OTLP__SCOPE_SPANS__INIT,
        };
        group->scope_spans_list[0] = &group->scope_spans;
        group->resource.attributes = group->attributes;
        group->resource_spans.resource = &group->resource;
        group->resource_spans.scope_spans = group->scope_spans_list;
        group->resource_spans.n_scope_spans = 1;
        group->scope_spans.scope = scope;
        return group;
}

static int group_resource(Chunk **chunks, Group *group, const char *service_name) {
        const struct {
                const char *key;
                const char *value;
        } attrs[] = {
                { "service.name", service_name },
                { "k8s.pod.uid", group->uid },
                { "k8s.pod.name", group->name },
                { "k8s.namespace.name", group->ns },
        };

        for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
                Podspan__Otlp__KeyValue *pair;

                if (!*attrs[i].value)
                        continue;
                pair = encode_string(chunks, attrs[i].key, attrs[i].value);
                if (!pair)
                        return -ENOMEM;
                group->attributes[group->resource.n_attributes++] = pair;
        }
        return 0;
}

int span_encode(const char *service_name, Span *const *spans, size_t n, uint8_t **ret, size_t *ret_size) {
        _cleanup_(chunks_freep) Chunk *chunks = NULL;
        Podspan__Otlp__TracesData traces = PODSPAN__OTLP__TRACES_DATA__INIT;
        Podspan__Otlp__InstrumentationScope scope = PODSPAN__OTLP__INSTRUMENTATION_SCOPE__INIT;
        Podspan__Otlp__ResourceSpans **list;
        Group **groups;
        uint8_t *data;
        size_t size;
        int r;

        assert(service_name);
        assert(spans || n == 0);
        assert(ret);
        assert(ret_size);

        scope.name = (char *) SCOPE_NAME;
        scope.version = (char *) PODSPAN_VERSION;

        list = chunks_alloc(&chunks, n * sizeof(*list));
        groups = chunks_alloc(&chunks, n * sizeof(*groups));
        if (!list || !groups)
                return -ENOMEM;
        traces.resource_spans = list;

        for (size_t i = 0; i < n; i++) {
                groups[i] = group_find(list, traces.n_resource_spans, spans[i]);
                if (!groups[i]) {
                        groups[i] = group_new(&chunks, &scope, spans[i]);
                        if (!groups[i])
                                return -ENOMEM;
                        list[traces.n_resource_spans++] = &groups[i]->resource_spans;
                }
                groups[i]->n_spans++;

                /* The first to know a name names the pod. */
                if (!*groups[i]->name)
                        groups[i]->name = span_text(spans[i], spans[i]->pod_name);
                if (!*groups[i]->ns)
                        groups[i]->ns = span_text(spans[i], spans[i]->pod_namespace);
        }

        for (size_t i = 0; i < n; i++) {
                Podspan__Otlp__ScopeSpans *to = &groups[i]->scope_spans;

                if (!to->spans)
                        to->spans = chunks_alloc(&chunks, groups[i]->n_spans * sizeof(*to->spans));
                if (!to->spans)
                        return -ENOMEM;

                r = encode_span(&chunks, spans[i], &to->spans[to->n_spans]);
                if (r < 0)
                        return r;
                to->n_spans++;
        }

        for (size_t i = 0; i < traces.n_resource_spans; i++) {
                r = group_resource(&chunks, container_of(list[i], Group, resource_spans), service_name);
                if (r < 0)
                        return r;
        }

        size = podspan__otlp__traces_data__get_packed_size(&traces);
        data = malloc(MAX(size, (size_t) 1));
        if (!data)
                return -ENOMEM;

        (void) podspan__otlp__traces_data__pack(&traces, data);
        *ret = data;
        *ret_size = size;
        return 0;
}
