#pragma once

/*
 * OTLP messages for the agent's tests: a span with what a test wants to say, packed in a TracesData with one resource.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "otlp.pb-c.h"
#include "util.h"

#define FIXTURE_SPANS_MAX 64
#define FIXTURE_START     UINT64_C(1700000000000000000)

#define FIXTURE_ATTRIBUTES_MAX 5

typedef struct FixtureAttribute {
        const char *key;
        const char *text; /* NULL: @number */
        int64_t number;
} FixtureAttribute;

typedef struct Fixture {
        uint8_t trace;    /* every byte of the trace id */
        uint8_t span;     /* of the span id */
        const char *name; /* "span" */
        uint32_t flags;
        int32_t status;
        uint64_t duration_ns;
        size_t trace_size;  /* 16 */
        size_t span_size;   /* 8 */
        size_t parent_size; /* 0 */
        const char *pad;    /* value of an attribute, NULL: none */
        uint64_t start_ns;  /* behind FIXTURE_START */
        FixtureAttribute attributes[FIXTURE_ATTRIBUTES_MAX];
} Fixture;

static inline void fixture_attribute(Podspan__Otlp__KeyValue *pair, Podspan__Otlp__AnyValue *value, const char *key,
                                     const char *text) {
        podspan__otlp__any_value__init(value);
        value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        value->string_value = (char *) text;
        podspan__otlp__key_value__init(pair);
        pair->key = (char *) key;
        pair->value = value;
}

/* Packs @n spans; the buffer is exactly as large as the message and the caller's. */
static inline uint8_t *fixture_pack(const Fixture *fixtures, size_t n, size_t *ret_size) {
        static uint8_t ids[FIXTURE_SPANS_MAX][3][32];
        Podspan__Otlp__Span spans[FIXTURE_SPANS_MAX], *list[FIXTURE_SPANS_MAX];
        Podspan__Otlp__Status statuses[FIXTURE_SPANS_MAX];
        static Podspan__Otlp__KeyValue pads[FIXTURE_SPANS_MAX][FIXTURE_ATTRIBUTES_MAX + 1];
        static Podspan__Otlp__AnyValue pad_values[FIXTURE_SPANS_MAX][FIXTURE_ATTRIBUTES_MAX + 1];
        Podspan__Otlp__KeyValue *pad_lists[FIXTURE_SPANS_MAX][FIXTURE_ATTRIBUTES_MAX + 1], pairs[2];
        Podspan__Otlp__KeyValue *pair_list[] = { pairs, pairs + 1 };
        Podspan__Otlp__AnyValue values[2];
        Podspan__Otlp__Resource resource = PODSPAN__OTLP__RESOURCE__INIT;
        Podspan__Otlp__ScopeSpans scope_spans = PODSPAN__OTLP__SCOPE_SPANS__INIT, *scopes[] = { &scope_spans };
        Podspan__Otlp__ResourceSpans resource_spans = PODSPAN__OTLP__RESOURCE_SPANS__INIT, *all[] = { &resource_spans };
        Podspan__Otlp__TracesData data = PODSPAN__OTLP__TRACES_DATA__INIT;
        uint8_t *packed;

        assert_true(n <= FIXTURE_SPANS_MAX);
        for (size_t i = 0; i < n; i++) {
                const Fixture *fixture = fixtures + i;
                Podspan__Otlp__Span *span = spans + i;

                podspan__otlp__span__init(span);
                memset(ids[i][0], fixture->trace, sizeof(ids[i][0]));
                memset(ids[i][1], fixture->span, sizeof(ids[i][1]));
                memset(ids[i][2], 0x77, sizeof(ids[i][2]));
                span->trace_id = (ProtobufCBinaryData){ fixture->trace_size ?: 16, ids[i][0] };
                span->span_id = (ProtobufCBinaryData){ fixture->span_size ?: 8, ids[i][1] };
                span->parent_span_id = (ProtobufCBinaryData){ fixture->parent_size, ids[i][2] };
                span->name = (char *) (fixture->name ?: "span");
                span->start_time_unix_nano = FIXTURE_START + fixture->start_ns;
                span->end_time_unix_nano = span->start_time_unix_nano + fixture->duration_ns;
                span->flags = fixture->flags;
                if (fixture->status) {
                        podspan__otlp__status__init(statuses + i);
                        statuses[i].code = fixture->status;
                        span->status = statuses + i;
                }
                span->attributes = pad_lists[i];
                if (fixture->pad) {
                        fixture_attribute(pads[i], pad_values[i], "pad", fixture->pad);
                        pad_lists[i][span->n_attributes++] = pads[i];
                }
                for (size_t a = 0; a < FIXTURE_ATTRIBUTES_MAX && fixture->attributes[a].key; a++) {
                        const FixtureAttribute *attribute = &fixture->attributes[a];
                        Podspan__Otlp__AnyValue *value = &pad_values[i][a + 1];

                        fixture_attribute(&pads[i][a + 1], value, attribute->key, attribute->text);
                        if (!attribute->text) {
                                value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
                                value->int_value = attribute->number;
                        }
                        pad_lists[i][span->n_attributes++] = &pads[i][a + 1];
                }
                list[i] = span;
        }

        fixture_attribute(pairs, values, "service.name", "podspan-test");
        fixture_attribute(pairs + 1, values + 1, "k8s.pod.uid", "uid-1");
        resource.attributes = pair_list;
        resource.n_attributes = 2;
        scope_spans.spans = list;
        scope_spans.n_spans = n;
        resource_spans.resource = &resource;
        resource_spans.scope_spans = scopes;
        resource_spans.n_scope_spans = 1;
        data.resource_spans = all;
        data.n_resource_spans = 1;

        *ret_size = podspan__otlp__traces_data__get_packed_size(&data);
        packed = malloc(*ret_size);
        assert_non_null(packed);
        assert_int_equal(podspan__otlp__traces_data__pack(&data, packed), *ret_size);
        return packed;
}

/* Value of a resource attribute of the message's first ResourceSpans, or NULL. */
static inline const char *fixture_resource(const Podspan__Otlp__TracesData *data, const char *key) {
        const Podspan__Otlp__Resource *resource = data->resource_spans[0]->resource;

        for (size_t i = 0; i < resource->n_attributes; i++)
                if (strcmp(resource->attributes[i]->key, key) == 0)
                        return resource->attributes[i]->value->string_value;
        return NULL;
}
