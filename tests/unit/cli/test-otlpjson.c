#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "otlpjson.h"

static bool want_all(const Podspan__Otlp__Span *span _unused_, void *userdata _unused_) {
        return true;
}

static bool want_none(const Podspan__Otlp__Span *span _unused_, void *userdata _unused_) {
        return false;
}

/* Serializes a message with one span that has one attribute. */
static uint8_t *pack(Podspan__Otlp__AnyValue *value, size_t *ret_size) {
        Podspan__Otlp__KeyValue attribute = PODSPAN__OTLP__KEY_VALUE__INIT, *attributes[] = { &attribute };
        Podspan__Otlp__Status status = PODSPAN__OTLP__STATUS__INIT;
        Podspan__Otlp__Span span = PODSPAN__OTLP__SPAN__INIT, *spans[] = { &span };
        Podspan__Otlp__ScopeSpans scope = PODSPAN__OTLP__SCOPE_SPANS__INIT, *scopes[] = { &scope };
        Podspan__Otlp__ResourceSpans resource = PODSPAN__OTLP__RESOURCE_SPANS__INIT, *resources[] = { &resource };
        Podspan__Otlp__TracesData data = PODSPAN__OTLP__TRACES_DATA__INIT;
        uint8_t *packed;

        attribute.key = (char *) "k";
        attribute.value = value;
        status.code = 2;
        status.message = (char *) "bad";
        span.trace_id = (ProtobufCBinaryData){ .data = (uint8_t *) "0123456789abcdef", .len = 16 };
        span.span_id = (ProtobufCBinaryData){ .data = (uint8_t *) "01234567", .len = 8 };
        span.name = (char *) "name";
        span.start_time_unix_nano = 1;
        span.end_time_unix_nano = UINT64_MAX;
        span.attributes = attributes;
        span.n_attributes = 1;
        span.status = &status;
        scope.spans = spans;
        scope.n_spans = 1;
        resource.scope_spans = scopes;
        resource.n_scope_spans = 1;
        data.resource_spans = resources;
        data.n_resource_spans = 1;

        packed = malloc(podspan__otlp__traces_data__get_packed_size(&data));
        *ret_size = podspan__otlp__traces_data__pack(&data, packed);
        return packed;
}

static char *to_json(const Podspan__Otlp__TracesData *data, OtlpjsonFilter filter) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        Json *json = json_new(out);

        json_array(json);
        otlpjson_resource_spans(json, data, filter, NULL);
        json_array_end(json);
        assert_int_equal(json_finish(json), 0);
        json_free(json);
        (void) fclose(out);
        return text;
}

static void test_span(void **state) {
        _cleanup_otlpjson_ Podspan__Otlp__TracesData *data = NULL;
        Podspan__Otlp__AnyValue value = PODSPAN__OTLP__ANY_VALUE__INIT;
        _cleanup_free_ uint8_t *packed = NULL;
        _cleanup_free_ char *text = NULL, *nothing = NULL;
        static const char *const parts[] = {
                "\"traceId\": \"30313233343536373839616263646566\"",
                "\"spanId\": \"3031323334353637\"",
                "\"name\": \"name\"",
                "\"kind\": 0",
                "\"startTimeUnixNano\": \"1\"",
                "\"endTimeUnixNano\": \"18446744073709551615\"",
                "\"key\": \"k\"",
                "\"intValue\": \"-7\"",
                "\"message\": \"bad\"",
                "\"code\": 2",
        };
        size_t size;

        (void) state;

        value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
        value.int_value = -7;
        packed = pack(&value, &size);
        assert_int_equal(otlpjson_unpack(packed, size, &data), 0);
        text = to_json(data, want_all);
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                assert_non_null(strstr(text, parts[i]));
        assert_null(strstr(text, "parentSpanId"));
        nothing = to_json(data, want_none);
        assert_string_equal(nothing, "[\n\n]\n\n");
}

static void test_truncated(void **state) {
        Podspan__Otlp__AnyValue value = PODSPAN__OTLP__ANY_VALUE__INIT;
        _cleanup_free_ uint8_t *packed = NULL;
        size_t size;

        (void) state;

        value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        value.string_value = (char *) "text";
        packed = pack(&value, &size);
        for (size_t len = 1; len < size; len++) {
                _cleanup_otlpjson_ Podspan__Otlp__TracesData *data = NULL;
                uint8_t *exact = malloc(len);

                memcpy(exact, packed, len);
                assert_int_equal(otlpjson_unpack(exact, len, &data), -EBADMSG);
                assert_null(data);
                free(exact);
        }
}

/* An attribute within @n lists. */
static uint8_t *pack_nested(size_t n, size_t *ret_size) {
        Podspan__Otlp__AnyValue *values = calloc(n + 1, sizeof(*values)), **pointers = calloc(n + 1, sizeof(void *));
        Podspan__Otlp__ArrayValue *arrays = calloc(n + 1, sizeof(*arrays));
        uint8_t *packed;

        for (size_t i = 0; i <= n; i++) {
                podspan__otlp__any_value__init(&values[i]);
                podspan__otlp__array_value__init(&arrays[i]);
                pointers[i] = &values[i];
        }
        for (size_t i = 0; i < n; i++) {
                values[i].value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE;
                values[i].array_value = &arrays[i];
                arrays[i].values = &pointers[i + 1];
                arrays[i].n_values = 1;
        }
        values[n].value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        values[n].string_value = (char *) "core";
        packed = pack(&values[0], ret_size);
        free(values);
        free(pointers);
        free(arrays);
        return packed;
}

static void test_nesting(void **state) {
        static const struct {
                size_t n;
                int r;
                bool core;
        } cases[] = {
                { 0, 0, true },
                { OTLPJSON_DEPTH_MAX - 1, 0, true },
                { OTLPJSON_DEPTH_MAX, 0, false }, /* written as too deep */
                { 50, 0, false },
                { 100, -EBADMSG, false }, /* refused before the stack is at risk */
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_otlpjson_ Podspan__Otlp__TracesData *data = NULL;
                _cleanup_free_ uint8_t *packed = NULL;
                _cleanup_free_ char *text = NULL;
                size_t size;

                packed = pack_nested(cases[i].n, &size);
                assert_int_equal(otlpjson_unpack(packed, size, &data), cases[i].r);
                if (cases[i].r < 0)
                        continue;
                text = to_json(data, want_all);
                assert_int_equal(strstr(text, "core") != NULL, cases[i].core);
                assert_int_equal(strstr(text, "nested too deeply") != NULL, !cases[i].core);
        }
}

/* Half a million messages within each other, in the fewest bytes: what would end a recursive parser. */
static void test_hostile_nesting(void **state) {
        size_t len = 4 << 20, n = 0;
        _cleanup_free_ uint8_t *bytes = malloc(len);
        _cleanup_otlpjson_ Podspan__Otlp__TracesData *data = NULL;
        static const unsigned path[] = { 1, 2, 2, 9, 2 }; /* to the value of an attribute, then 5 and 1 in turn */

        (void) state;

        for (size_t level = 0; n + 8 < len && level < 500000; level++) {
                unsigned number = level < ARRAY_SIZE(path) ? path[level] : level % 2 == 1 ? 5 : 1;
                size_t left = len - n - 6;

                bytes[n++] = (uint8_t) (number << 3 | 2);
                /* A varint of exactly five bytes. */
                for (unsigned i = 0; i < 5; i++)
                        bytes[n++] = (uint8_t) ((left >> 7 * i & 0x7f) | (i < 4 ? 0x80 : 0));
        }
        memset(bytes + n, 0, len - n);
        assert_int_equal(otlpjson_unpack(bytes, len, &data), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_span),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_nesting),
                cmocka_unit_test(test_hostile_nesting),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
