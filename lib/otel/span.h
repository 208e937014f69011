#pragma once

/*
 * Span
 *
 * One OpenTelemetry span as a producer builds it, and its encoding as OTLP (proto/otlp.proto). Attribute and event
 * names follow the OpenTelemetry semantic conventions; what has no convention is under "podspan."; each program's page
 * in docs/ lists it.
 */

#include <stddef.h>
#include <stdint.h>
#include "identity.h"
#include "tracecontext.h"
#include "util.h"

#define SPAN_ATTRS_MAX       64
#define SPAN_LINKS_MAX       8
#define SPAN_EVENTS_MAX      32
#define SPAN_EVENT_ATTRS_MAX 8    /* of one event */
#define SPAN_VALUE_MAX       1024 /* bytes of a string value; longer is cut */

typedef struct Span Span;

/* Values are those of OTLP's Span.SpanKind. */
typedef enum SpanKind {
        SPAN_KIND_INTERNAL = 1,
        SPAN_KIND_SERVER = 2,
        SPAN_KIND_CLIENT = 3,
} SpanKind;

/* Values are those of OTLP's Status.StatusCode. */
typedef enum SpanStatus {
        SPAN_STATUS_UNSET = 0,
        SPAN_STATUS_OK = 1,
        SPAN_STATUS_ERROR = 2,
} SpanStatus;

/*
 * Makes a span called @name (copied) in @context; @parent may be NULL for a root. Only @parent's span id is used, its
 * trace id must be that of @context; a zero span id (a derived trace) also makes a root.
 * Returns 0 with a span owned by the caller, or -ENOMEM.
 */
int span_new(const char *name, SpanKind kind, const TraceContext *context, const TraceContext *parent, Span **ret);

/* Releases @span; NULL is fine. Returns NULL. */
Span *span_free(Span *span);
DEFINE_CLEANUP(Span *, span_free);

/* Start and end in nanoseconds of the wall clock. */
void span_set_time(Span *span, uint64_t start_ns, uint64_t end_ns);

/* Sets whether the parent is known to be in another process (OTLP Span.flags bits 8 and 9). Default: not known. */
void span_set_parent_remote(Span *span, bool remote);

/* Sets W3C's tracestate, as tracecontext_tracestate() gives it (copied); NULL or "" sets nothing. */
void span_set_tracestate(Span *span, const char *tracestate);

/* Makes @span a root of its trace if its parent is @parent_id: for a parent that turns out to have become no span. */
void span_drop_parent(Span *span, const uint8_t parent_id[static TRACECONTEXT_SPAN_ID_SIZE]);

/* Pod identity: becomes attributes of the span's *resource* (k8s.pod.uid, k8s.pod.name, k8s.namespace.name). */
void span_set_pod(Span *span, const char *uid, const char *name, const char *ns);

/*
 * Sets the pod (as span_set_pod()) and the attributes container.id, k8s.container.name, container.image.name,
 * k8s.container.restart_count, podspan.sandbox.id, podspan.sandbox.attempt and podspan.runtime.handler of all
 * that is known in @identity.
 */
void span_set_identity(Span *span, const Identity *identity);

/*
 * Attributes. @key must outlive the span (a literal); values are copied, cut at SPAN_VALUE_MAX bytes, and invalid UTF-8
 * in them is replaced. Setting a key again replaces it. Above SPAN_ATTRS_MAX, or without memory, the attribute is
 * dropped and OTLP's dropped_attributes_count says so. span_attr_str() with NULL or "" sets nothing.
 */
void span_attr_str(Span *span, const char *key, const char *value);
void span_attr_strn(Span *span, const char *key, const char *value, size_t len);
void span_attr_int(Span *span, const char *key, int64_t value);
void span_attr_bool(Span *span, const char *key, bool value);

/* Links @span to @to, saying why (attribute podspan.link: "start", "annotation", "candidate" …; a literal, may be
 * NULL). */
void span_link(Span *span, const TraceContext *to, const char *why);

/* Adds an event called @name (a literal) at @time_ns. */
void span_event(Span *span, const char *name, uint64_t time_ns);

/*
 * Adds an attribute to the event that span_event() added last, as span_attr_str() and span_attr_int() do for the span.
 * Above SPAN_EVENT_ATTRS_MAX, or if that event was dropped, the attribute is dropped.
 */
void span_event_attr_str(Span *span, const char *key, const char *value);
void span_event_attr_int(Span *span, const char *key, int64_t value);

/* Sets the status; @message (copied, bounded) only with SPAN_STATUS_ERROR, may be NULL. */
void span_set_status(Span *span, SpanStatus status, const char *message);

/* What was set. */
const TraceContext *span_context(const Span *span);

/*
 * Encodes @n spans of the producer @service_name as one OTLP TracesData with one ResourceSpans per pod, in the order
 * in which pods first appear. @scope_version is this program's version.
 * Returns 0 with a buffer owned by the caller, or -ENOMEM.
 */
int span_encode(const char *service_name, Span *const *spans, size_t n, uint8_t **ret, size_t *ret_size);
