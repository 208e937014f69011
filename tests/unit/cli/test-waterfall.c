#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "waterfall.h"

#define S NSEC_PER_SEC

typedef struct Row {
        const char *name;
        uint64_t start_ns;
        uint64_t end_ns;
} Row;

static Trace make(const Row *rows, uint32_t n) {
        Trace trace = { .spans = calloc(n + 1, sizeof(*trace.spans)), .n_spans = n, .n_total = n };

        for (uint32_t i = 0; i < n; i++)
                trace.spans[i] = (TraceSpan){
                        .span_id = { (uint8_t) (i + 1) },
                        .start_ns = rows[i].start_ns,
                        .end_ns = rows[i].end_ns,
                        .name = strdup(rows[i].name),
                        .service = strdup("service"),
                        .pod_uid = strdup(""),
                        .pod_name = strdup(""),
                        .pod_namespace = strdup(""),
                        .container_name = strdup(""),
                        .container_id = strdup(""),
                };
        assert_int_equal(trace_build(&trace), 0);
        return trace;
}

static void assert_near(double a, double b) {
        assert_true(fabs(a - b) < 1e-6);
}

static void test_linear(void **state) {
        static const Row rows[] = { { "a", 100 * S, 110 * S }, { "b", 105 * S, 120 * S }, { "c", 125 * S, 140 * S } };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));
        _cleanup_(waterfall_axis_freep) WaterfallAxis *axis = waterfall_axis_new(&trace);

        (void) state;

        /* The pause of 5 s is shorter than the work: drawn as long as it is. */
        assert_int_equal(waterfall_axis_gaps(axis), 0);
        for (unsigned s = 0; s <= 40; s++)
                assert_near(waterfall_axis_at(axis, (100 + s) * S), s / 40.0);
        assert_near(waterfall_axis_at(axis, 0), 0);
        assert_near(waterfall_axis_at(axis, UINT64_MAX), 1);
}

static void test_gap(void **state) {
        static const Row rows[] = { { "a", 0, 1 * S },
                                    { "container", 1 * S / 2, 3600 * S },
                                    { "b", 3600 * S, 3601 * S } };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));
        _cleanup_(waterfall_axis_freep) WaterfallAxis *axis = waterfall_axis_new(&trace);
        double before = 0;
        uint64_t ns;

        (void) state;

        assert_int_equal(waterfall_axis_gaps(axis), 1);
        (void) waterfall_axis_gap(axis, 0, &ns);
        assert_int_equal(ns, 3599 * S);
        /* Two seconds of work and their 4 % for the hour between. */
        assert_near(waterfall_axis_at(axis, 1 * S), 1 / 2.08);
        assert_near(waterfall_axis_at(axis, 3600 * S), 1.08 / 2.08);
        assert_near(waterfall_axis_at(axis, 3601 * S), 1);
        for (uint64_t t = 0; t <= 3601; t++) {
                double at = waterfall_axis_at(axis, t * S);

                assert_true(at >= before && at <= 1);
                before = at;
        }
}

/* Nothing but instants, or one long-lived span: no division by nothing. */
static void test_degenerate(void **state) {
        static const Row instants[] = { { "a", 5, 5 }, { "b", 5, 5 } };
        static const Row alone[] = { { "container", 0, 100 } };
        static const Row apart[] = { { "a", 0, 0 }, { "b", UINT64_MAX, UINT64_MAX } };
        const struct {
                const Row *rows;
                uint32_t n;
        } cases[] = { { instants, 2 }, { alone, 1 }, { apart, 2 } };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(trace_deinit) Trace trace = make(cases[i].rows, cases[i].n);
                _cleanup_(waterfall_axis_freep) WaterfallAxis *axis = waterfall_axis_new(&trace);

                for (uint64_t t = 0; t <= 100; t += 5) {
                        double at = waterfall_axis_at(axis, t);

                        assert_true(at >= 0 && at <= 1);
                }
                assert_true(waterfall_axis_at(axis, UINT64_MAX) <= 1);
        }
}

/* Not inlined: gcc 12 does not see that fclose() ends the stream's interest in @text, and warns at -O3. */
__attribute__((noinline)) static char *print(const Trace *trace, Screen screen) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_int_equal(waterfall_print(out, &screen, trace), 0);
        (void) fclose(out);
        return text;
}

static void test_print(void **state) {
        static const Row rows[] = { { "first", 0, 100 * NSEC_PER_MSEC },
                                    { "second", 50 * NSEC_PER_MSEC, 100 * NSEC_PER_MSEC } };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));
        _cleanup_free_ char *text = print(&trace, (Screen){ .utf8 = true, .width = 80 });
        _cleanup_free_ char *ascii = print(&trace, (Screen){});
        _cleanup_free_ char *colour = print(&trace, (Screen){ .utf8 = true, .width = 80, .colour = true });

        (void) state;

        assert_non_null(strstr(text, "       0    100 ms  ███████"));
        assert_non_null(strstr(text, " 50.0 ms   50.0 ms  "));
        assert_null(strchr(text, '\033'));
        assert_non_null(strstr(ascii, "================================"));
        assert_null(strstr(ascii, "█"));
        assert_non_null(strstr(colour, "\033[36m"));
}

static void check_width(const Trace *trace, unsigned width) {
        _cleanup_free_ char *text = print(trace, (Screen){ .width = width });
        const char *line = strstr(text, "\n\n") + 2;

        for (const char *end; (end = strchr(line, '\n')); line = end + 1)
                assert_in_range((size_t) (end - line), 0, width);
        assert_in_range(strlen(line), 0, width);
}

/* Every width from the narrowest on: no line is wider, nothing breaks. */
static void test_widths(void **state) {
        static const Row rows[] = { { "a rather long name of a span that needs to be cut", 0, 100 }, { "b", 50, 100 } };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));

        (void) state;

        for (unsigned width = 40; width < 200; width++)
                check_width(&trace, width);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_linear), cmocka_unit_test(test_gap),    cmocka_unit_test(test_degenerate),
                cmocka_unit_test(test_print),  cmocka_unit_test(test_widths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
