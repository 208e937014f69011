#include <assert.h>
#include <errno.h>
#include <string.h>
#include "span.h"
#include "spandata.h"

#define TEXT_MAX (SPAN_ATTRS_MAX * 2U * (SPAN_VALUE_MAX + 1))

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
static int text_add(Span *span, const char *s, size_t len, SpanText *ret) {
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

        *ret = (SpanText) span->text_len;
        span->text_len += len + 1;
        return 0;
}

/* Sets @field to @value unless that is not known. */
static void text_set(Span *span, SpanText *field, const char *value) {
        if (value && *value && strcmp(span_text(span, *field), value) != 0)
                (void) text_add(span, value, strlen(value), field);
}

int span_new(const char *name, SpanKind kind, const TraceContext *context, const TraceContext *parent, Span **ret) {
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

        if (parent && tracecontext_has_span(parent)) {
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

        span->remote_flags = SPAN_FLAG_HAS_IS_REMOTE | (remote ? SPAN_FLAG_IS_REMOTE : 0);
}

void span_drop_parent(Span *span, const uint8_t parent_id[static TRACECONTEXT_SPAN_ID_SIZE]) {
        assert(span);

        if (!span->has_parent || memcmp(span->parent_id, parent_id, sizeof(span->parent_id)) != 0)
                return;
        span->has_parent = false;
        span->remote_flags = 0;
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
static SpanAttr *attr_slot(Span *span, const char *key) {
        for (size_t i = 0; i < span->n_attrs; i++)
                if (span->attrs[i].key == key || strcmp(span->attrs[i].key, key) == 0)
                        return &span->attrs[i];

        if (span->n_attrs == SPAN_ATTRS_MAX) {
                span->n_dropped_attrs++;
                return NULL;
        }

        /* Once, and to the full: few spans get there. */
        if (span->n_attrs == SPAN_ATTRS_INLINE && span->attrs == span->attrs_inline) {
                SpanAttr *attrs = malloc(SPAN_ATTRS_MAX * sizeof(*attrs));

                if (!attrs) {
                        span->n_dropped_attrs++;
                        return NULL;
                }
                memcpy(attrs, span->attrs_inline, sizeof(span->attrs_inline));
                span->attrs = attrs;
        }

        span->attrs[span->n_attrs] = (SpanAttr){ .key = key, .type = SPAN_ATTR_STRING };
        return &span->attrs[span->n_attrs++];
}

void span_attr_strn(Span *span, const char *key, const char *value, size_t len) {
        SpanText text;
        SpanAttr *attr;

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
                attr->type = SPAN_ATTR_STRING;
                attr->string = text;
        }
}

void span_attr_str(Span *span, const char *key, const char *value) {
        if (value)
                span_attr_strn(span, key, value, strlen(value));
}

static void attr_number(Span *span, const char *key, SpanAttrType type, int64_t number) {
        SpanAttr *attr;

        assert(span);
        assert(key);

        attr = attr_slot(span, key);
        if (attr) {
                attr->type = type;
                attr->number = number;
        }
}

void span_attr_int(Span *span, const char *key, int64_t value) {
        attr_number(span, key, SPAN_ATTR_INT, value);
}

void span_attr_bool(Span *span, const char *key, bool value) {
        attr_number(span, key, SPAN_ATTR_BOOL, value);
}

void span_link(Span *span, const TraceContext *to, const char *why) {
        assert(span);
        assert(to);

        if (!span->links && span->n_dropped_links == 0)
                span->links = malloc(SPAN_LINKS_MAX * sizeof(*span->links));

        if (!span->links || span->n_links == SPAN_LINKS_MAX)
                span->n_dropped_links++;
        else
                span->links[span->n_links++] = (SpanLink){ .to = *to, .why = why };
}

void span_event(Span *span, const char *name, uint64_t time_ns) {
        assert(span);
        assert(name);

        if (!span->events && span->n_dropped_events == 0)
                span->events = malloc(SPAN_EVENTS_MAX * sizeof(*span->events));

        span->event_dropped = !span->events || span->n_events == SPAN_EVENTS_MAX;
        if (span->event_dropped) {
                span->n_dropped_events++;
                return;
        }
        /* Not the attributes: nothing reads them before they are written. */
        span->events[span->n_events].name = name;
        span->events[span->n_events].time_ns = time_ns;
        span->events[span->n_events].n_attrs = 0;
        span->events[span->n_events].n_dropped_attrs = 0;
        span->n_events++;
}

/* A new attribute of the last event, NULL if it can have none. */
static SpanAttr *event_attr_slot(Span *span, const char *key) {
        SpanEvent *event;

        assert(span);
        assert(key);

        if (span->event_dropped || span->n_events == 0)
                return NULL;
        event = &span->events[span->n_events - 1];
        if (event->n_attrs == SPAN_EVENT_ATTRS_MAX) {
                event->n_dropped_attrs++;
                return NULL;
        }
        event->attrs[event->n_attrs].key = key;
        return &event->attrs[event->n_attrs++];
}

void span_event_attr_str(Span *span, const char *key, const char *value) {
        SpanText text;
        SpanAttr *attr;

        if (!value || !*value || text_add(span, value, strlen(value), &text) < 0)
                return;
        attr = event_attr_slot(span, key);
        if (attr) {
                attr->type = SPAN_ATTR_STRING;
                attr->string = text;
        }
}

void span_event_attr_int(Span *span, const char *key, int64_t value) {
        SpanAttr *attr = event_attr_slot(span, key);

        if (attr) {
                attr->type = SPAN_ATTR_INT;
                attr->number = value;
        }
}

void span_set_status(Span *span, SpanStatus status, const char *message) {
        assert(span);

        span->status = status;
        span->message = 0;
        if (status == SPAN_STATUS_ERROR)
                text_set(span, &span->message, message);
}

void span_set_tracestate(Span *span, const char *tracestate) {
        assert(span);

        text_set(span, &span->tracestate, tracestate);
}

const TraceContext *span_context(const Span *span) {
        assert(span);

        return &span->context;
}
