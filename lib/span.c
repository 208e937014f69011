#include <assert.h>
#include <errno.h>
#include <string.h>
#include "otlp.pb-c.h"
#include "span.h"

#define SCOPE_NAME "podspan"

/* OTLP's SpanFlags, above the eight bits of W3C. */
#define FLAG_HAS_IS_REMOTE 0x100U
#define FLAG_IS_REMOTE     0x200U

#define ATTRS_INLINE 12
#define TEXT_INLINE  512
#define TEXT_MAX     (SPAN_ATTRS_MAX * 2U * (SPAN_VALUE_MAX + 1))
#define CHUNK_SIZE   8192

/* A string in Span.text; 0 is the empty one. */
typedef uint32_t Text;

typedef enum AttrType {
        ATTR_STRING,
        ATTR_INT,
        ATTR_BOOL,
} AttrType;

typedef struct Attr {
        const char *key;
        AttrType type;
        union {
                Text string;
                int64_t number;
        };
} Attr;

typedef struct Link {
        TraceContext to;
        const char *why;
} Link;

typedef struct Event {
        const char *name;
        uint64_t time_ns;
} Event;

struct Span {
        TraceContext context;
        uint8_t parent_id[TRACECONTEXT_SPAN_ID_SIZE];
        bool has_parent;
        SpanKind kind;
        SpanStatus status;
        uint32_t remote_flags;
        uint64_t start_ns;
        uint64_t end_ns;
        Text name;
        Text message;
        Text pod_uid;
        Text pod_name;
        Text pod_namespace;
        uint32_t n_dropped_attrs;
        uint32_t n_dropped_links;
        uint32_t n_dropped_events;

        Attr *attrs; /* attrs_inline until it is outgrown */
        size_t n_attrs;
        Link *links; /* none until the first */
        size_t n_links;
        Event *events; /* likewise */
        size_t n_events;

        char *text; /* text_inline until it is outgrown; strings with their NUL, the first one empty */
        size_t text_len;
        size_t text_size;

        Attr attrs_inline[ATTRS_INLINE];
        char text_inline[TEXT_INLINE];
};

/* Bytes of the UTF-8 sequence at the beginning of @s, 0 if it is none or a NUL, which no protobuf-c string can hold. */
static size_t sequence_len(const char *s, size_t len) {
        if (len > 0 && *s == '\0')
                return 0;

        for (size_t n = 1; n <= 4 && n <= len; n++)
                if (util_utf8_valid(s, n))
                        return n;
        return 0;
}

/* Copies @s into the span's text as valid UTF-8, cut at SPAN_VALUE_MAX. */
static int text_add(Span *span, const char *s, size_t len, Text *ret) {
        char *to;

        if (len > SPAN_VALUE_MAX) {
                len = SPAN_VALUE_MAX;
                while (len > SPAN_VALUE_MAX - 3 && ((uint8_t) s[len] & 0xc0) == 0x80)
                        len--;
        }

        if (span->text_len + len + 1 > span->text_size) {
                size_t size = MAX(span->text_size * 2, span->text_len + len + 1);
                char *text;

                if (span->text_len + len + 1 > TEXT_MAX)
                        return -ENOMEM;

                text = realloc(span->text == span->text_inline ? NULL : span->text, size);
                if (!text)
                        return -ENOMEM;
                if (span->text == span->text_inline)
                        memcpy(text, span->text_inline, span->text_len);
                span->text = text;
                span->text_size = size;
        }

        to = span->text + span->text_len;
        if (util_utf8_valid(s, len) && !memchr(s, '\0', len))
                memcpy(to, s, len);
        else
                for (size_t i = 0, n; i < len; i += MAX(n, (size_t) 1)) {
                        n = sequence_len(s + i, len - i);
                        if (n == 0)
                                to[i] = '?';
                        else
                                memcpy(to + i, s + i, n);
                }
        to[len] = '\0';

        *ret = (Text) span->text_len;
        span->text_len += len + 1;
        return 0;
}

static char *text_of(const Span *span, Text text) {
        return span->text + text;
}

/* Sets @field to @value unless that is not known. */
static void text_set(Span *span, Text *field, const char *value) {
        if (value && *value && strcmp(text_of(span, *field), value) != 0)
                (void) text_add(span, value, strlen(value), field);
}

int span_new(const char *name, SpanKind kind, const TraceContext *context, const TraceContext *parent, Span **ret) {
        static const uint8_t zero[TRACECONTEXT_SPAN_ID_SIZE];
        _cleanup_(span_freep) Span *span = NULL;
        int r;

        assert(name);
        assert(context);
        assert(!parent || memcmp(parent->trace_id, context->trace_id, sizeof(context->trace_id)) == 0);
        assert(ret);

        span = malloc(sizeof(*span));
        if (!span)
                return -ENOMEM;

        /* Not the inline buffers: nothing reads them before they are written. */
        memset(span, 0, offsetof(Span, attrs_inline));
        span->context = *context;
        span->kind = kind;
        span->attrs = span->attrs_inline;
        span->text = span->text_inline;
        span->text_inline[0] = '\0';
        span->text_len = 1;
        span->text_size = sizeof(span->text_inline);

        if (parent && memcmp(parent->span_id, zero, sizeof(zero)) != 0) {
                memcpy(span->parent_id, parent->span_id, sizeof(span->parent_id));
                span->has_parent = true;
        }

        r = text_add(span, name, strlen(name), &span->name);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(span);
        return 0;
}

Span *span_free(Span *span) {
        if (!span)
                return NULL;

        if (span->attrs != span->attrs_inline)
                free(span->attrs);
        if (span->text != span->text_inline)
                free(span->text);
        free(span->links);
        free(span->events);
        free(span);
        return NULL;
}

void span_set_time(Span *span, uint64_t start_ns, uint64_t end_ns) {
        assert(span);

        span->start_ns = start_ns;
        span->end_ns = end_ns;
}

void span_set_parent_remote(Span *span, bool remote) {
        assert(span);

        span->remote_flags = FLAG_HAS_IS_REMOTE | (remote ? FLAG_IS_REMOTE : 0);
}

void span_set_pod(Span *span, const char *uid, const char *name, const char *ns) {
        assert(span);

        text_set(span, &span->pod_uid, uid);
        text_set(span, &span->pod_name, name);
        text_set(span, &span->pod_namespace, ns);
}

void span_set_identity(Span *span, const Identity *identity) {
        assert(span);
        assert(identity);

        span_set_pod(span, identity->pod_uid, identity->pod_name, identity->pod_namespace);
        span_attr_str(span, "container.id", identity->container_id);
        span_attr_str(span, "k8s.container.name", identity->container_name);
        span_attr_str(span, "container.image.name", identity->image);
        if (identity->container_attempt_known)
                span_attr_int(span, "k8s.container.restart_count", identity->container_attempt);
        span_attr_str(span, "podspan.sandbox.id", identity->sandbox_id);
        if (identity->sandbox_attempt_known)
                span_attr_int(span, "podspan.sandbox.attempt", identity->sandbox_attempt);
        span_attr_str(span, "podspan.runtime.handler", identity->runtime_handler);
}

/* The attribute called @key, a new one where there is none; NULL (and counted) if there can be no more. */
static Attr *attr_slot(Span *span, const char *key) {
        for (size_t i = 0; i < span->n_attrs; i++)
                if (span->attrs[i].key == key || strcmp(span->attrs[i].key, key) == 0)
                        return &span->attrs[i];

        if (span->n_attrs == SPAN_ATTRS_MAX) {
                span->n_dropped_attrs++;
                return NULL;
        }

        /* Once, and to the full: few spans get there. */
        if (span->n_attrs == ATTRS_INLINE && span->attrs == span->attrs_inline) {
                Attr *attrs = malloc(SPAN_ATTRS_MAX * sizeof(*attrs));

                if (!attrs) {
                        span->n_dropped_attrs++;
                        return NULL;
                }
                memcpy(attrs, span->attrs_inline, sizeof(span->attrs_inline));
                span->attrs = attrs;
        }

        span->attrs[span->n_attrs] = (Attr){ .key = key, .type = ATTR_STRING };
        return &span->attrs[span->n_attrs++];
}

void span_attr_strn(Span *span, const char *key, const char *value, size_t len) {
        Text text;
        Attr *attr;

        assert(span);
        assert(key);

        if (!value || len == 0)
                return;

        if (text_add(span, value, len, &text) < 0) {
                span->n_dropped_attrs++;
                return;
        }

        attr = attr_slot(span, key);
        if (attr) {
                attr->type = ATTR_STRING;
                attr->string = text;
        }
}

void span_attr_str(Span *span, const char *key, const char *value) {
        if (value)
                span_attr_strn(span, key, value, strlen(value));
}

static void attr_number(Span *span, const char *key, AttrType type, int64_t number) {
        Attr *attr;

        assert(span);
        assert(key);

        attr = attr_slot(span, key);
        if (attr) {
                attr->type = type;
                attr->number = number;
        }
}

void span_attr_int(Span *span, const char *key, int64_t value) {
        attr_number(span, key, ATTR_INT, value);
}

void span_attr_bool(Span *span, const char *key, bool value) {
        attr_number(span, key, ATTR_BOOL, value);
}

void span_link(Span *span, const TraceContext *to, const char *why) {
        assert(span);
        assert(to);

        if (!span->links && span->n_dropped_links == 0)
                span->links = malloc(SPAN_LINKS_MAX * sizeof(*span->links));

        if (!span->links || span->n_links == SPAN_LINKS_MAX)
                span->n_dropped_links++;
        else
                span->links[span->n_links++] = (Link){ .to = *to, .why = why };
}

void span_event(Span *span, const char *name, uint64_t time_ns) {
        assert(span);
        assert(name);

        if (!span->events && span->n_dropped_events == 0)
                span->events = malloc(SPAN_EVENTS_MAX * sizeof(*span->events));

        if (!span->events || span->n_events == SPAN_EVENTS_MAX)
                span->n_dropped_events++;
        else
                span->events[span->n_events++] = (Event){ .name = name, .time_ns = time_ns };
}

void span_set_status(Span *span, SpanStatus status, const char *message) {
        assert(span);

        span->status = status;
        span->message = 0;
        if (status == SPAN_STATUS_ERROR)
                text_set(span, &span->message, message);
}

const TraceContext *span_context(const Span *span) {
        assert(span);

        return &span->context;
}

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

static Podspan__Otlp__KeyValue *encode_attr(Chunk **chunks, const Span *span, const Attr *attr) {
        Podspan__Otlp__KeyValue *pair;

        pair = encode_string(chunks, attr->key, attr->type == ATTR_STRING ? text_of(span, attr->string) : NULL);
        if (!pair || attr->type == ATTR_STRING)
                return pair;

        if (attr->type == ATTR_INT) {
                pair->value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
                pair->value->int_value = attr->number;
        } else {
                pair->value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
                pair->value->bool_value = attr->number != 0;
        }
        return pair;
}

static ProtobufCBinaryData bytes_of(const uint8_t *bytes, size_t size) {
        return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *) bytes };
}

static int encode_links(Chunk **chunks, const Span *span, Podspan__Otlp__Span *to) {
        to->links = chunks_alloc(chunks, span->n_links * sizeof(*to->links));
        if (!to->links)
                return -ENOMEM;

        for (size_t i = 0; i < span->n_links; i++) {
                const Link *from = &span->links[i];
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
        to->status->message = text_of(span, span->message);
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
        to->name = text_of(span, span->name);
        to->kind = (int32_t) span->kind;
        to->start_time_unix_nano = span->start_ns;
        to->end_time_unix_nano = span->end_ns;
        to->flags = span->context.flags | span->remote_flags;
        to->dropped_attributes_count = span->n_dropped_attrs;
        to->dropped_links_count = span->n_dropped_links;
        to->dropped_events_count = span->n_dropped_events;

        to->attributes = chunks_alloc(chunks, span->n_attrs * sizeof(*to->attributes));
        if (!to->attributes)
                return -ENOMEM;
        for (size_t i = 0; i < span->n_attrs; i++) {
                to->attributes[i] = encode_attr(chunks, span, &span->attrs[i]);
                if (!to->attributes[i])
                        return -ENOMEM;
                to->n_attributes++;
        }

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
        Podspan__Otlp__ResourceSpans resource_spans;
        Podspan__Otlp__Resource resource;
        Podspan__Otlp__ScopeSpans scope_spans;
        Podspan__Otlp__ScopeSpans *scope_spans_list[1];
        Podspan__Otlp__KeyValue *attributes[4];
} Group;

/* A UID tells pods apart; where one is missing, name and namespace must do. */
static bool group_matches(const Group *group, const Span *span) {
        const char *uid = text_of(span, span->pod_uid);

        if (*uid || *group->uid)
                return strcmp(uid, group->uid) == 0;

        return strcmp(text_of(span, span->pod_name), group->name) == 0 &&
               strcmp(text_of(span, span->pod_namespace), group->ns) == 0;
}

static Group *group_new(Chunk **chunks, Podspan__Otlp__InstrumentationScope *scope, const Span *span, size_t n) {
        Group *group;

        group = chunks_alloc(chunks, sizeof(*group));
        if (!group)
                return NULL;

        *group = (Group){
                .uid = text_of(span, span->pod_uid),
                .name = text_of(span, span->pod_name),
                .ns = text_of(span, span->pod_namespace),
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
        group->scope_spans.spans = chunks_alloc(chunks, n * sizeof(*group->scope_spans.spans));
        return group->scope_spans.spans ? group : NULL;
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
        if (!list)
                return -ENOMEM;
        traces.resource_spans = list;

        for (size_t i = 0; i < n; i++) {
                Group *group = NULL;

                for (size_t j = 0; j < traces.n_resource_spans && !group; j++) {
                        Group *other = container_of(list[j], Group, resource_spans);

                        if (group_matches(other, spans[i]))
                                group = other;
                }
                if (!group) {
                        group = group_new(&chunks, &scope, spans[i], n - i);
                        if (!group)
                                return -ENOMEM;
                        list[traces.n_resource_spans++] = &group->resource_spans;
                }

                /* The first to know a name names the pod. */
                if (!*group->name)
                        group->name = text_of(spans[i], spans[i]->pod_name);
                if (!*group->ns)
                        group->ns = text_of(spans[i], spans[i]->pod_namespace);

                r = encode_span(&chunks, spans[i], &group->scope_spans.spans[group->scope_spans.n_spans]);
                if (r < 0)
                        return r;
                group->scope_spans.n_spans++;
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
