#pragma once

/*
 * Span data
 *
 * What a span consists of; for span.c, which builds it, and spanencode.c, which writes it. Nobody else includes this.
 */

#include "span.h"

/* OTLP's SpanFlags, above the eight bits of W3C. */
#define SPAN_FLAG_HAS_IS_REMOTE 0x100U
#define SPAN_FLAG_IS_REMOTE     0x200U

#define SPAN_ATTRS_INLINE 12
#define SPAN_TEXT_INLINE  512

/* A string in Span.text; 0 is the empty one. */
typedef uint32_t SpanText;

typedef enum SpanAttrType {
        SPAN_ATTR_STRING,
        SPAN_ATTR_INT,
        SPAN_ATTR_BOOL,
} SpanAttrType;

typedef struct SpanAttr {
        const char *key;
        SpanAttrType type;
        union {
                SpanText string;
                int64_t number;
        };
} SpanAttr;

typedef struct SpanLink {
        TraceContext to;
        const char *why;
} SpanLink;

typedef struct SpanEvent {
        const char *name;
        uint64_t time_ns;
        uint32_t n_attrs;
        uint32_t n_dropped_attrs;
        SpanAttr attrs[SPAN_EVENT_ATTRS_MAX];
} SpanEvent;

struct Span {
        TraceContext context;
        uint8_t parent_id[TRACECONTEXT_SPAN_ID_SIZE];
        bool has_parent;
        SpanKind kind;
        SpanStatus status;
        uint32_t remote_flags;
        uint64_t start_ns;
        uint64_t end_ns;
        SpanText name;
        SpanText message;
        SpanText tracestate;
        SpanText pod_uid;
        SpanText pod_name;
        SpanText pod_namespace;
        uint32_t n_dropped_attrs;
        uint32_t n_dropped_links;
        uint32_t n_dropped_events;

        SpanAttr *attrs; /* attrs_inline until it is outgrown */
        size_t n_attrs;
        SpanLink *links; /* none until the first */
        size_t n_links;
        SpanEvent *events; /* likewise */
        size_t n_events;
        bool event_dropped; /* the last one */

        char *text; /* text_inline until it is outgrown; strings with their NUL, the first one empty */
        size_t text_len;
        size_t text_size;

        SpanAttr attrs_inline[SPAN_ATTRS_INLINE];
        char text_inline[SPAN_TEXT_INLINE];
};

static inline char *span_text(const Span *span, SpanText text) {
        return span->text + text;
}
