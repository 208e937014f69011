#pragma once

/*
 * OTLP/JSON
 *
 * Writes stored TracesData by the OTLP/JSON rules (opentelemetry-proto, "JSON Protobuf Encoding"): lowerCamelCase keys,
 * trace and span ids in hex, other bytes in base64, enums as numbers, 64-bit integers as strings, absent fields left
 * out. What file exporters and viewers read.
 */

#include "json.h"
#include "otlp.pb-c.h"

/* Attribute values nested deeper than this are written as a string that says so. */
#define OTLPJSON_DEPTH_MAX 32

/* Is this span wanted? */
typedef bool (*OtlpjsonFilter)(const Podspan__Otlp__Span *span, void *userdata);

/*
 * Writes the elements of "resourceSpans" that hold a span which @filter wants, with those spans only; to be called
 * within the open array, once for each batch.
 */
void otlpjson_resource_spans(Json *json, const Podspan__Otlp__TracesData *data, OtlpjsonFilter filter, void *userdata);

/*
 * Unpacks the @len bytes at @data. Returns 0 with a message owned by the caller, or -EBADMSG: malformed, or nested so
 * deeply that no honest producer wrote it.
 */
int otlpjson_unpack(const uint8_t *data, size_t len, Podspan__Otlp__TracesData **ret);

static inline void otlpjson_freep(Podspan__Otlp__TracesData **data) {
        podspan__otlp__traces_data__free_unpacked(*data, NULL);
}
#define _cleanup_otlpjson_ _cleanup_(otlpjson_freep)
