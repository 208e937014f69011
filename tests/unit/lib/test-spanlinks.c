#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "otlp.pb-c.h"
#include "spanlinks.h"

/* A context of one trace with span id @n. */
static TraceContext context_of(uint8_t n) {
        return (TraceContext){ .trace_id = { 1 }, .span_id = { [TRACECONTEXT_SPAN_ID_SIZE - 1] = n } };
}

static void add(SpanLinks *links, uint8_t n, const char *why) {
        const TraceContext to = context_of(n);

        spanlinks_add(links, &to, why);
}

static void each_once(void **state) {
        SpanLinks links = {};
        TraceContext other = context_of(3);

        (void) state;

        add(&links, 3, "start");
        add(&links, 4, "candidate");
        add(&links, 3, "annotation");
        /* 8 random bytes name a span, whatever the trace */
        other.trace_id[0] = 2;
        spanlinks_add(&links, &other, "annotation");
        add(&links, 5, "annotation");

        assert_int_equal(links.n, 3);
        assert_string_equal(links.at[0].why, "start");
        assert_int_equal(links.at[0].to.trace_id[0], 1);
        assert_string_equal(links.at[1].why, "candidate");
        assert_string_equal(links.at[2].why, "annotation");
        for (uint8_t i = 0; i < 3; i++)
                assert_int_equal(links.at[i].to.span_id[TRACECONTEXT_SPAN_ID_SIZE - 1], 3 + i);
}

static void bounded(void **state) {
        struct {
                SpanLinks links;
                uint8_t beyond[64];
        } guarded = {};
        uint8_t untouched[64] = {};

        (void) state;

        for (uint8_t i = 1; i <= SPAN_LINKS_MAX + 2; i++)
                add(&guarded.links, i, "candidate");
        assert_int_equal(guarded.links.n, SPAN_LINKS_MAX);
        assert_int_equal(guarded.links.at[SPAN_LINKS_MAX - 1].to.span_id[TRACECONTEXT_SPAN_ID_SIZE - 1],
                         SPAN_LINKS_MAX);
        assert_memory_equal(guarded.beyond, untouched, sizeof(untouched));
}

static Podspan__Otlp__TracesData *set_and_encode(const SpanLinks *links, const TraceContext *parent) {
        _cleanup_(span_freep) Span *span = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        const TraceContext context = context_of(100);
        Podspan__Otlp__TracesData *traces;
        size_t size;

        assert_int_equal(span_new("a span", SPAN_KIND_INTERNAL, &context, parent, &span), 0);
        spanlinks_set(links, parent, span);
        assert_int_equal(span_encode("podspan-test", &span, 1, &data, &size), 0);
        traces = podspan__otlp__traces_data__unpack(NULL, size, data);
        assert_non_null(traces);
        return traces;
}

static void all_but_the_parent(void **state) {
        static const struct {
                uint8_t parent; /* 0: a root */
                size_t n;
                uint8_t ids[3];
        } cases[] = {
                { 0, 3, { 3, 4, 5 } }, { 9, 3, { 3, 4, 5 } }, { 3, 2, { 4, 5 } },
                { 4, 2, { 3, 5 } },    { 5, 2, { 3, 4 } },
        };
        SpanLinks links = {};

        (void) state;

        for (uint8_t i = 3; i <= 5; i++)
                add(&links, i, "start");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const TraceContext parent = context_of(cases[i].parent);
                Podspan__Otlp__TracesData *traces = set_and_encode(&links, &parent);
                const Podspan__Otlp__Span *span = traces->resource_spans[0]->scope_spans[0]->spans[0];

                assert_int_equal(span->n_links, cases[i].n);
                for (size_t j = 0; j < span->n_links; j++) {
                        assert_int_equal(span->links[j]->span_id.data[TRACECONTEXT_SPAN_ID_SIZE - 1], cases[i].ids[j]);
                        assert_string_equal(span->links[j]->attributes[0]->key, "podspan.link");
                        assert_string_equal(span->links[j]->attributes[0]->value->string_value, "start");
                }
                podspan__otlp__traces_data__free_unpacked(traces, NULL);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_once),
                cmocka_unit_test(bounded),
                cmocka_unit_test(all_but_the_parent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
