/* One span out of a batch, by its ids, from bytes of any kind. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "spanfind.h"

static const uint8_t trace[16] = "0123456789abcde", other_trace[16] = "1123456789abcde";
static const uint8_t first[8] = "first..", second[8] = "second.", none[8] = "none...";

/* A serialized TracesData of two resources, the second with two spans. Ownership goes to the caller. */
static uint8_t *batch(size_t *ret_size) {
        Podspan__Otlp__AnyValue text = PODSPAN__OTLP__ANY_VALUE__INIT, number = PODSPAN__OTLP__ANY_VALUE__INIT;
        Podspan__Otlp__KeyValue pairs[2] = { PODSPAN__OTLP__KEY_VALUE__INIT, PODSPAN__OTLP__KEY_VALUE__INIT };
        Podspan__Otlp__KeyValue *attributes[] = { pairs, pairs + 1 };
        Podspan__Otlp__Event event = PODSPAN__OTLP__EVENT__INIT, *events[] = { &event };
        Podspan__Otlp__Span spans[3] = { PODSPAN__OTLP__SPAN__INIT, PODSPAN__OTLP__SPAN__INIT,
                                         PODSPAN__OTLP__SPAN__INIT };
        Podspan__Otlp__Span *lists[] = { spans, spans + 1, spans + 2 };
        Podspan__Otlp__ScopeSpans scopes[2] = { PODSPAN__OTLP__SCOPE_SPANS__INIT, PODSPAN__OTLP__SCOPE_SPANS__INIT };
        Podspan__Otlp__ScopeSpans *scope_lists[] = { scopes, scopes + 1 };
        Podspan__Otlp__ResourceSpans resources[2] = { PODSPAN__OTLP__RESOURCE_SPANS__INIT,
                                                      PODSPAN__OTLP__RESOURCE_SPANS__INIT };
        Podspan__Otlp__ResourceSpans *resource_lists[] = { resources, resources + 1 };
        Podspan__Otlp__TracesData data = PODSPAN__OTLP__TRACES_DATA__INIT;
        uint8_t *packed;

        text.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        text.string_value = (char *) "value";
        number.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
        number.int_value = 42;
        pairs[0].key = (char *) "text";
        pairs[0].value = &text;
        pairs[1].key = (char *) "number";
        pairs[1].value = &number;
        event.n_attributes = 2;
        event.attributes = attributes;

        for (size_t i = 0; i < 3; i++) {
                spans[i].trace_id = (ProtobufCBinaryData){ 16, (uint8_t *) (i == 0 ? other_trace : trace) };
                spans[i].span_id = (ProtobufCBinaryData){ 8, (uint8_t *) (i == 1 ? second : first) };
        }
        spans[2].n_attributes = 2;
        spans[2].attributes = attributes;
        spans[2].n_events = 1;
        spans[2].events = events;
        for (size_t i = 0; i < 2; i++) {
                scopes[i].n_spans = i + 1;
                scopes[i].spans = lists + i;
                resources[i].n_scope_spans = 1;
                resources[i].scope_spans = scope_lists + i;
        }
        data.n_resource_spans = 2;
        data.resource_spans = resource_lists;

        *ret_size = podspan__otlp__traces_data__get_packed_size(&data);
        packed = malloc(*ret_size);
        assert_non_null(packed);
        podspan__otlp__traces_data__pack(&data, packed);
        return packed;
}

static void test_find(void **state) {
        _cleanup_(spanfind_freep) Podspan__Otlp__Span *span = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        (void) state;

        data = batch(&size);
        assert_int_equal(spanfind(data, size, trace, none, &span), -ENOENT);
        assert_int_equal(spanfind(data, size, other_trace, second, &span), -ENOENT);
        assert_null(span);

        assert_int_equal(spanfind(data, size, trace, first, &span), 0);
        assert_string_equal(spanfind_string(span, "text"), "value");
        assert_null(spanfind_string(span, "number"));
        assert_null(spanfind_string(span, "absent"));
        assert_int_equal(spanfind_number(span, "number", -1), 42);
        assert_int_equal(spanfind_number(span, "text", -1), -1);
        assert_int_equal(span->n_events, 1);
        assert_string_equal(spanfind_event_string(span->events[0], "text"), "value");
        assert_int_equal(spanfind_event_number(span->events[0], "number", -1), 42);
        assert_int_equal(spanfind_event_number(span->events[0], "absent", -7), -7);
}

/* Cut at every byte, and each byte changed, in a buffer of exactly that size. */
static void test_hostile(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        (void) state;

        data = batch(&size);
        for (size_t cut = 0; cut < size; cut++) {
                uint8_t *exact = malloc(cut ?: 1);
                Podspan__Otlp__Span *span = NULL;

                memcpy(exact, data, cut);
                assert_true(spanfind(exact, cut, trace, first, &span) < 0);
                free(exact);
        }
        for (size_t at = 0; at < size; at++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        uint8_t *exact = malloc(size);
                        Podspan__Otlp__Span *span = NULL;

                        memcpy(exact, data, size);
                        exact[at] ^= (uint8_t) (1U << bit);
                        (void) spanfind(exact, size, trace, first, &span);
                        (void) spanfind_free(span);
                        free(exact);
                }
}

/* Of an id that stands twice, protobuf takes the last one: the span found would be another. */
static void test_id_twice(void **state) {
        uint8_t data[44], *p = data;
        Podspan__Otlp__Span *span = NULL;

        (void) state;

        p = mempcpy(p, "\x0a\x2a\x12\x28\x12\x26\x0a\x10", 8);
        p = mempcpy(p, trace, 16);
        p = mempcpy(p, "\x12\x08", 2);
        p = mempcpy(p, first, 8);
        p = mempcpy(p, "\x12\x08", 2);
        (void) mempcpy(p, second, 8);
        assert_int_equal(spanfind(data, sizeof(data), trace, first, &span), -EBADMSG);
        assert_null(span);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_find),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_id_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
