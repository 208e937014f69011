#pragma once

/*
 * Finding a span
 *
 * A batch of the store holds up to some thousand spans, and an answer needs one of them. This walks the wire format
 * (proto/otlp.proto) and decodes nothing else. The bytes are hostile. No I/O.
 */

#include <stddef.h>
#include <stdint.h>
#include "otlp.pb-c.h"
#include "util.h"

#define SPANFIND_SIZE_MAX (256U * 1024) /* bytes of one span; a larger one is not decoded */

static inline Podspan__Otlp__Span *spanfind_free(Podspan__Otlp__Span *span) {
        if (span)
                podspan__otlp__span__free_unpacked(span, NULL);
        return NULL;
}
DEFINE_CLEANUP(Podspan__Otlp__Span *, spanfind_free);

/*
 * Finds the span with these ids in the @size bytes of a serialized TracesData at @traces, and decodes it. Returns 0
 * with @ret owned by the caller (spanfind_free()), -ENOENT if there is no such span, -EBADMSG if the bytes are no
 * TracesData up to there or the span cannot be decoded, -EFBIG above SPANFIND_SIZE_MAX.
 */
int spanfind(const uint8_t *traces, size_t size, const uint8_t trace_id[static 16], const uint8_t span_id[static 8],
             Podspan__Otlp__Span **ret);

/* An attribute of @span: a string ("" is none), or NULL; a whole number, or @otherwise. */
const char *spanfind_string(const Podspan__Otlp__Span *span, const char *key);
int64_t spanfind_number(const Podspan__Otlp__Span *span, const char *key, int64_t otherwise);
/* The same of an event. */
const char *spanfind_event_string(const Podspan__Otlp__Event *event, const char *key);
int64_t spanfind_event_number(const Podspan__Otlp__Event *event, const char *key, int64_t otherwise);
