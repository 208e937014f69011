#pragma once

/*
 * W3C Trace Context, level 2
 *
 * Parses and writes `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context-2/). No I/O: bytes in, result
 * out. A failed parse leaves its output alone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACECONTEXT_TRACE_ID_SIZE      16
#define TRACECONTEXT_SPAN_ID_SIZE       8
#define TRACECONTEXT_TRACEPARENT_LEN    55
#define TRACECONTEXT_TRACEPARENT_MAX    512 /* a later version may append; longer than this is not looked at */
#define TRACECONTEXT_TRACESTATE_MEMBERS 32
#define TRACECONTEXT_TRACESTATE_MAX     8192 /* 32 members of key, '=', value and comma fit twice over what peers send */

enum {
        TRACECONTEXT_SAMPLED = 0x01,
        TRACECONTEXT_RANDOM = 0x02,
};

typedef struct TraceContext {
        uint8_t trace_id[TRACECONTEXT_TRACE_ID_SIZE];
        uint8_t span_id[TRACECONTEXT_SPAN_ID_SIZE];
        uint8_t flags; /* TRACECONTEXT_SAMPLED | TRACECONTEXT_RANDOM; no other bit is kept */
} TraceContext;

/*
 * Parses the @len bytes at @s as a traceparent. Version 00 has exactly 55 characters; a higher version may have more
 * after a further '-'; version ff, upper-case digits and all-zero ids are invalid. In version 00 the undefined flag
 * bits must be ignored (level 2), so they are dropped. Returns 0, or -EBADMSG.
 */
int tracecontext_parse(const char *s, size_t len, TraceContext *ret);

/* Writes @context as a version 00 traceparent and a NUL. */
void tracecontext_format(const TraceContext *context, char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]);

/* Are both ids non-zero? */
bool tracecontext_valid(const TraceContext *context);

/* Does @context name a span, or a trace alone (a zero span id), whose first spans have it for a parent? */
bool tracecontext_has_span(const TraceContext *context);

/* Starts a trace: random ids, no flag set (not even TRACECONTEXT_RANDOM: older Go SDKs refuse it). Returns 0 or a
 * negative errno. */
int tracecontext_new_root(TraceContext *ret);

/* A child of @parent: same trace id and flags, a new random span id. Returns 0 or a negative errno. */
int tracecontext_new_child(const TraceContext *parent, TraceContext *ret);

/*
 * The trace a sandbox's spans share when nothing handed us a context: the trace id is the first 16 bytes of
 * SHA-256("podspan1" ‖ @sandbox_id). The span id is zero: there is no parent span. Flags are 0; the caller samples.
 */
void tracecontext_derive(const char *sandbox_id, size_t len, TraceContext *ret);

/*
 * Validates a tracestate and writes it in canonical form (empty members and blanks around members dropped, the first of
 * several with one key kept, the rightmost beyond 32 dropped) to @ret of @size bytes with a NUL. Several headers are
 * combined by the caller with commas, in order. Returns its length, -EBADMSG if any member is malformed (the whole must
 * then be ignored), -ENOBUFS if it does not fit.
 */
int tracecontext_tracestate(const char *s, size_t len, char *ret, size_t size);
