#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "otlp.pb-c.h"
#include "span.h"

typedef Podspan__Otlp__TracesData Traces;
typedef Podspan__Otlp__Span Decoded;
typedef Podspan__Otlp__KeyValue KeyValue;

static const TraceContext context = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
                                      { 1, 2, 3, 4, 5, 6, 7, 8 },
                                      TRACECONTEXT_SAMPLED | TRACECONTEXT_RANDOM };
static const TraceContext parent = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
                                     { 8, 7, 6, 5, 4, 3, 2, 1 },
                                     0 };
static const TraceContext derived = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, {}, 0 };

static Span *make(const TraceContext *parent_context) {
        Span *span;

        assert_int_equal(
                span_new("runtime.v1.RuntimeService/RunPodSandbox", SPAN_KIND_SERVER, &context, parent_context, &span),
                0);
        return span;
}

static Traces *encode(Span *const *spans, size_t n) {
        _cleanup_free_ uint8_t *data = NULL;
        Traces *traces;
        size_t size;

        assert_int_equal(span_encode("podspan-test", spans, n, &data, &size), 0);
        traces = podspan__otlp__traces_data__unpack(NULL, size, data);
        assert_non_null(traces);
        return traces;
}

static void traces_free(Traces *traces) {
        podspan__otlp__traces_data__free_unpacked(traces, NULL);
}

static const Decoded *only(const Traces *traces) {
        assert_int_equal(traces->n_resource_spans, 1);
        assert_int_equal(traces->resource_spans[0]->n_scope_spans, 1);
        assert_int_equal(traces->resource_spans[0]->scope_spans[0]->n_spans, 1);
        return traces->resource_spans[0]->scope_spans[0]->spans[0];
}

static const Podspan__Otlp__AnyValue *attr(KeyValue *const *attrs, size_t n, const char *key) {
        const Podspan__Otlp__AnyValue *found = NULL;

        for (size_t i = 0; i < n; i++)
                if (strcmp(attrs[i]->key, key) == 0) {
                        assert_null(found);
                        found = attrs[i]->value;
                }
        return found;
}

static void expect_str(KeyValue *const *attrs, size_t n, const char *key, const char *value) {
        const Podspan__Otlp__AnyValue *found = attr(attrs, n, key);

        if (!value) {
                assert_null(found);
                return;
        }
        assert_non_null(found);
        assert_int_equal(found->value_case, PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE);
        assert_string_equal(found->string_value, value);
}

static void expect_int(KeyValue *const *attrs, size_t n, const char *key, int64_t value) {
        const Podspan__Otlp__AnyValue *found = attr(attrs, n, key);

        assert_non_null(found);
        assert_int_equal(found->value_case, PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE);
        assert_int_equal(found->int_value, value);
}

static void whole(void **state) {
        _cleanup_(span_freep) Span *span = make(&parent);
        const Podspan__Otlp__AnyValue *value;
        const Podspan__Otlp__ScopeSpans *scope;
        const Decoded *out;
        Traces *traces;

        (void) state;

        span_set_time(span, 1000, 2000);
        span_set_parent_remote(span, true);
        span_set_tracestate(span, NULL);
        span_set_tracestate(span, "vendor=1,other=2");
        span_attr_str(span, "a.string", "text");
        span_attr_strn(span, "a.part", "texture", 4);
        span_attr_int(span, "an.int", -5);
        span_attr_bool(span, "a.bool", true);
        span_attr_bool(span, "a.false", false);
        span_link(span, &parent, "start");
        span_link(span, &context, NULL);
        span_event_attr_int(span, "of.none", 1); /* there is no event yet */
        span_event(span, "happened", 1500);
        span_event_attr_str(span, "e.string", "why");
        span_event_attr_str(span, "e.empty", "");
        span_event_attr_int(span, "e.int", 7);
        span_set_status(span, SPAN_STATUS_ERROR, "it failed");
        assert_memory_equal(span_context(span), &context, sizeof(context));

        traces = encode(&span, 1);
        out = only(traces);
        assert_int_equal(out->trace_id.len, 16);
        assert_memory_equal(out->trace_id.data, context.trace_id, 16);
        assert_int_equal(out->span_id.len, 8);
        assert_memory_equal(out->span_id.data, context.span_id, 8);
        assert_int_equal(out->parent_span_id.len, 8);
        assert_memory_equal(out->parent_span_id.data, parent.span_id, 8);
        assert_string_equal(out->trace_state, "vendor=1,other=2");
        assert_string_equal(out->name, "runtime.v1.RuntimeService/RunPodSandbox");
        assert_int_equal(out->kind, 2);
        assert_int_equal(out->start_time_unix_nano, 1000);
        assert_int_equal(out->end_time_unix_nano, 2000);
        assert_int_equal(out->flags, 0x303);
        assert_int_equal(out->n_attributes, 5);
        assert_int_equal(out->dropped_attributes_count, 0);
        expect_str(out->attributes, out->n_attributes, "a.string", "text");
        expect_str(out->attributes, out->n_attributes, "a.part", "text");
        expect_int(out->attributes, out->n_attributes, "an.int", -5);
        value = attr(out->attributes, out->n_attributes, "a.bool");
        assert_int_equal(value->value_case, PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE);
        assert_true(value->bool_value);
        value = attr(out->attributes, out->n_attributes, "a.false");
        assert_int_equal(value->value_case, PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE);
        assert_false(value->bool_value);
        assert_int_equal(out->n_links, 2);
        assert_memory_equal(out->links[0]->span_id.data, parent.span_id, 8);
        assert_int_equal(out->links[0]->n_attributes, 1);
        expect_str(out->links[0]->attributes, 1, "podspan.link", "start");
        assert_int_equal(out->links[1]->n_attributes, 0);
        assert_int_equal(out->links[1]->flags, 3);
        assert_int_equal(out->n_events, 1);
        assert_string_equal(out->events[0]->name, "happened");
        assert_int_equal(out->events[0]->time_unix_nano, 1500);
        assert_int_equal(out->events[0]->n_attributes, 2);
        assert_int_equal(out->events[0]->dropped_attributes_count, 0);
        expect_str(out->events[0]->attributes, 2, "e.string", "why");
        expect_int(out->events[0]->attributes, 2, "e.int", 7);
        assert_int_equal(out->status->code, 2);
        assert_string_equal(out->status->message, "it failed");

        scope = traces->resource_spans[0]->scope_spans[0];
        assert_string_equal(scope->scope->name, "podspan");
        assert_string_equal(scope->scope->version, PODSPAN_VERSION);
        assert_int_equal(traces->resource_spans[0]->resource->n_attributes, 1);
        expect_str(traces->resource_spans[0]->resource->attributes, 1, "service.name", "podspan-test");
        traces_free(traces);
}

static void roots(void **state) {
        const TraceContext *const parents[] = { NULL, &derived };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
                _cleanup_(span_freep) Span *span = make(parents[i]);
                Traces *traces = encode(&span, 1);

                assert_int_equal(only(traces)->parent_span_id.len, 0);
                assert_int_equal(only(traces)->flags, 3);
                assert_null(only(traces)->status);
                traces_free(traces);
        }
}

/* Only the very parent that became no span is dropped. */
static void dropped_parent(void **state) {
        static const uint8_t another[TRACECONTEXT_SPAN_ID_SIZE] = { 0xee };
        _cleanup_(span_freep) Span *span = make(&parent);
        Traces *traces;

        (void) state;

        span_drop_parent(span, another);
        traces = encode(&span, 1);
        assert_int_equal(only(traces)->parent_span_id.len, TRACECONTEXT_SPAN_ID_SIZE);
        traces_free(traces);

        span_drop_parent(span, parent.span_id);
        traces = encode(&span, 1);
        assert_int_equal(only(traces)->parent_span_id.len, 0);
        traces_free(traces);
}

static void local_parent(void **state) {
        _cleanup_(span_freep) Span *span = make(&parent);
        Traces *traces;

        (void) state;

        span_set_parent_remote(span, false);
        traces = encode(&span, 1);
        assert_int_equal(only(traces)->flags, 0x103);
        traces_free(traces);
}

static void identity(void **state) {
        _cleanup_(span_freep) Span *span = make(NULL), *bare = make(NULL);
        Span *const spans[] = { span, bare };
        const Identity full = {
                .pod_uid = "uid-1",
                .pod_name = "web-0",
                .pod_namespace = "prod",
                .sandbox_id = "sb",
                .container_id = "ctr",
                .container_name = "nginx",
                .image = "docker.io/nginx:1",
                .runtime_handler = "crun",
                .sandbox_attempt_known = true,
                .container_attempt = 3,
                .container_attempt_known = true,
        };
        const Identity nothing = {};
        const Podspan__Otlp__Resource *resource;
        const Decoded *out;
        Traces *traces;

        (void) state;

        span_set_identity(span, &full);
        span_set_identity(bare, &nothing);
        traces = encode(spans, 2);
        assert_int_equal(traces->n_resource_spans, 2);

        resource = traces->resource_spans[0]->resource;
        assert_int_equal(resource->n_attributes, 4);
        expect_str(resource->attributes, 4, "service.name", "podspan-test");
        expect_str(resource->attributes, 4, "k8s.pod.uid", "uid-1");
        expect_str(resource->attributes, 4, "k8s.pod.name", "web-0");
        expect_str(resource->attributes, 4, "k8s.namespace.name", "prod");

        out = traces->resource_spans[0]->scope_spans[0]->spans[0];
        assert_int_equal(out->n_attributes, 7);
        expect_str(out->attributes, 7, "container.id", "ctr");
        expect_str(out->attributes, 7, "k8s.container.name", "nginx");
        expect_str(out->attributes, 7, "container.image.name", "docker.io/nginx:1");
        expect_int(out->attributes, 7, "k8s.container.restart_count", 3);
        expect_str(out->attributes, 7, "podspan.sandbox.id", "sb");
        expect_int(out->attributes, 7, "podspan.sandbox.attempt", 0);
        expect_str(out->attributes, 7, "podspan.runtime.handler", "crun");

        assert_int_equal(traces->resource_spans[1]->resource->n_attributes, 1);
        assert_int_equal(traces->resource_spans[1]->scope_spans[0]->spans[0]->n_attributes, 0);
        traces_free(traces);
}

/* 300 spans of 7 pods (one of them without UID, one nameless) in a row that is not sorted. */
static void grouped_by_pod(void **state) {
        Span *spans[300];
        Traces *traces;
        size_t n = 0;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
                char uid[16], name[16];
                size_t pod = i * 5 % 7;

                spans[i] = make(NULL);
                (void) snprintf(uid, sizeof(uid), "uid-%zu", pod);
                (void) snprintf(name, sizeof(name), "name-%zu", pod);
                span_attr_int(spans[i], "pod", (int64_t) pod);
                if (pod == 5)
                        span_set_pod(spans[i], NULL, name, "ns");
                else if (pod < 5)
                        /* the first span of each pod does not know the name yet */
                        span_set_pod(spans[i], uid, i < 7 ? "" : name, "ns");
        }

        traces = encode(spans, ARRAY_SIZE(spans));
        assert_int_equal(traces->n_resource_spans, 7);
        for (size_t i = 0; i < 7; i++) {
                const Podspan__Otlp__ResourceSpans *group = traces->resource_spans[i];
                const Podspan__Otlp__Resource *resource = group->resource;
                char uid[16], name[16];
                size_t pod = i * 5 % 7; /* in order of appearance */

                (void) snprintf(uid, sizeof(uid), "uid-%zu", pod);
                (void) snprintf(name, sizeof(name), "name-%zu", pod);
                expect_str(resource->attributes, resource->n_attributes, "k8s.pod.uid", pod < 5 ? uid : NULL);
                expect_str(resource->attributes, resource->n_attributes, "k8s.pod.name", pod < 6 ? name : NULL);
                expect_str(resource->attributes, resource->n_attributes, "k8s.namespace.name", pod < 6 ? "ns" : NULL);

                assert_int_equal(group->n_scope_spans, 1);
                n += group->scope_spans[0]->n_spans;
                for (size_t j = 0; j < group->scope_spans[0]->n_spans; j++) {
                        const Decoded *out = group->scope_spans[0]->spans[j];

                        expect_int(out->attributes, out->n_attributes, "pod", (int64_t) pod);
                }
        }
        assert_int_equal(n, ARRAY_SIZE(spans));
        traces_free(traces);
        for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
                span_free(spans[i]);
}

static void no_spans(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        (void) state;

        assert_int_equal(span_encode("podspan-test", NULL, 0, &data, &size), 0);
        assert_int_equal(size, 0);
        assert_non_null(data);
}

static void replaced(void **state) {
        _cleanup_(span_freep) Span *span = make(NULL);
        const Decoded *out;
        Traces *traces;

        (void) state;

        span_attr_str(span, "k", "one");
        span_attr_str(span, "k", "two");
        span_attr_str(span, "k", "");
        span_attr_str(span, "k", NULL);
        span_attr_int(span, "n", 1);
        span_attr_str(span, "n", "text");
        span_set_status(span, SPAN_STATUS_ERROR, "message");
        span_set_status(span, SPAN_STATUS_OK, "ignored");
        traces = encode(&span, 1);
        out = only(traces);
        assert_int_equal(out->n_attributes, 2);
        expect_str(out->attributes, 2, "k", "two");
        expect_str(out->attributes, 2, "n", "text");
        assert_int_equal(out->status->code, 1);
        assert_string_equal(out->status->message, "");
        traces_free(traces);
}

static void bounded(void **state) {
        static char keys[SPAN_ATTRS_MAX + 5][8];
        static char value[3 * SPAN_VALUE_MAX];
        _cleanup_(span_freep) Span *span = make(NULL);
        const Decoded *out;
        Traces *traces;

        (void) state;

        memset(value, 'v', sizeof(value) - 1);
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                (void) snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
                span_attr_str(span, keys[i], value);
        }
        for (size_t i = 0; i < SPAN_LINKS_MAX + 2; i++)
                span_link(span, &parent, "start");
        for (size_t i = 0; i < SPAN_EVENTS_MAX + 3; i++) {
                span_event(span, "event", i);
                for (size_t k = 0; k < (i == 1 ? SPAN_EVENT_ATTRS_MAX + 2 : 1); k++)
                        span_event_attr_int(span, keys[k], (int64_t) i);
        }

        traces = encode(&span, 1);
        out = only(traces);
        assert_int_equal(out->n_attributes, SPAN_ATTRS_MAX);
        assert_int_equal(out->dropped_attributes_count, 5);
        assert_int_equal(out->n_links, SPAN_LINKS_MAX);
        assert_int_equal(out->dropped_links_count, 2);
        assert_int_equal(out->n_events, SPAN_EVENTS_MAX);
        assert_int_equal(out->dropped_events_count, 3);
        assert_int_equal(out->events[0]->n_attributes, 1);
        assert_int_equal(out->events[1]->n_attributes, SPAN_EVENT_ATTRS_MAX);
        assert_int_equal(out->events[1]->dropped_attributes_count, 2);
        assert_int_equal(out->events[SPAN_EVENTS_MAX - 1]->n_attributes, 1);
        for (size_t i = 0; i < SPAN_ATTRS_MAX; i++)
                assert_int_equal(strlen(attr(out->attributes, out->n_attributes, keys[i])->string_value),
                                 SPAN_VALUE_MAX);
        traces_free(traces);

        /* a value set over and over ends in a drop, not in ever more memory */
        for (size_t i = 0; i < 1000; i++)
                span_attr_str(span, keys[0], value);
        traces = encode(&span, 1);
        assert_in_range(only(traces)->dropped_attributes_count, 6, 1005);
        traces_free(traces);
}

static const struct {
        const char *in;
        size_t len;
        const char *out;
} texts[] = {
        { "plain", 5, "plain" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3" },
        { "a\xff"
          "b",
          3, "a?b" },
        { "\xc3", 1, "?" },
        { "\xe2\x82", 2, "??" },
        { "\xed\xa0\x80", 3, "???" },
        { "\xc0\x80", 2, "??" },
        { "a\0b", 3, "a?b" },
        { "\xc3\xa4\xff\xc3\xa4", 5, "\xc3\xa4?\xc3\xa4" },
};

static void text_is_utf8(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(span_freep) Span *span = make(NULL);
                _cleanup_free_ char *exact = malloc(texts[i].len);
                Traces *traces;

                assert_non_null(exact);
                memcpy(exact, texts[i].in, texts[i].len);
                span_attr_strn(span, "k", exact, texts[i].len);
                traces = encode(&span, 1);
                expect_str(only(traces)->attributes, only(traces)->n_attributes, "k", texts[i].out);
                traces_free(traces);
        }
}

/* The cut never splits a sequence, wherever it falls. */
static void cut_between_sequences(void **state) {
        (void) state;

        for (size_t shift = 0; shift < 4; shift++) {
                _cleanup_(span_freep) Span *span = make(NULL);
                char value[SPAN_VALUE_MAX + 16];
                const char *out;
                Traces *traces;
                size_t len = shift;

                memset(value, 'x', shift);
                while (len + 4 <= sizeof(value)) {
                        memcpy(value + len, "\xf0\x9f\x90\xb3", 4);
                        len += 4;
                }
                span_attr_strn(span, "k", value, len);
                traces = encode(&span, 1);
                out = only(traces)->attributes[0]->value->string_value;
                assert_int_equal(strlen(out), shift == 0 ? SPAN_VALUE_MAX : SPAN_VALUE_MAX - 4 + shift);
                assert_null(strchr(out, '?'));
                traces_free(traces);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole),
                cmocka_unit_test(roots),
                cmocka_unit_test(dropped_parent),
                cmocka_unit_test(local_parent),
                cmocka_unit_test(identity),
                cmocka_unit_test(grouped_by_pod),
                cmocka_unit_test(no_spans),
                cmocka_unit_test(replaced),
                cmocka_unit_test(bounded),
                cmocka_unit_test(text_is_utf8),
                cmocka_unit_test(cut_between_sequences),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
