#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "trace.h"

typedef struct Row {
        uint8_t id;
        uint8_t parent; /* 0: none */
        uint64_t start_ns;
        uint64_t end_ns;
} Row;

/* A trace of these spans, which must be in the order of their start. */
static Trace make(const Row *rows, uint32_t n) {
        Trace trace = { .spans = calloc(n + 1, sizeof(*trace.spans)), .n_spans = n, .n_total = n };

        for (uint32_t i = 0; i < n; i++)
                trace.spans[i] = (TraceSpan){
                        .span_id = { rows[i].id },
                        .parent_id = { rows[i].parent },
                        .has_parent = rows[i].parent != 0,
                        .start_ns = rows[i].start_ns,
                        .end_ns = rows[i].end_ns,
                        .flags = i % 2,
                        .verdict = rows[i].id == 9 ? STOREDB_FAILED : STOREDB_OK,
                };
        assert_int_equal(trace_build(&trace), 0);
        return trace;
}

static void check_order(const Trace *trace, const uint8_t *ids, const unsigned *depths) {
        for (uint32_t i = 0; i < trace->n_spans; i++) {
                assert_int_equal(trace->spans[trace->order[i]].span_id[0], ids[i]);
                assert_int_equal(trace->spans[trace->order[i]].depth, depths[i]);
        }
}

static void test_tree(void **state) {
        static const Row rows[] = {
                { 1, 0, 0, 100 }, { 2, 1, 10, 20 }, { 3, 2, 11, 12 }, { 4, 1, 30, 40 }, { 9, 0, 50, 150 }
        };
        static const uint8_t ids[] = { 1, 2, 3, 4, 9 };
        static const unsigned depths[] = { 0, 1, 2, 1, 0 };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));

        (void) state;

        check_order(&trace, ids, depths);
        assert_int_equal(trace.start_ns, 0);
        assert_int_equal(trace.end_ns, 150);
        assert_int_equal(trace.n_errors, 1);
        assert_int_equal(trace.n_orphans, 0);
        assert_int_equal(trace.n_unsampled, 3);
        assert_false(trace.spans[1].last);
        assert_true(trace.spans[3].last);
}

/* A child that started before its parent (clocks of two programs) is still its child. */
static void test_child_before_parent(void **state) {
        static const Row rows[] = { { 2, 1, 0, 5 }, { 1, 0, 1, 100 } };
        static const uint8_t ids[] = { 1, 2 };
        static const unsigned depths[] = { 0, 1 };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));

        (void) state;

        check_order(&trace, ids, depths);
}

static void test_orphans(void **state) {
        static const Row rows[] = { { 1, 0, 0, 100 }, { 2, 77, 10, 20 }, { 3, 2, 11, 12 } };
        static const uint8_t ids[] = { 1, 2, 3 };
        static const unsigned depths[] = { 0, 0, 1 };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));

        (void) state;

        check_order(&trace, ids, depths);
        assert_int_equal(trace.n_orphans, 1);
        assert_true(trace.spans[1].orphan);
}

static void test_rings(void **state) {
        static const Row rows[] = { { 1, 1, 0, 1 }, { 2, 4, 1, 2 }, { 3, 2, 2, 3 }, { 4, 3, 3, 4 }, { 5, 3, 4, 5 } };
        static const uint8_t ids[] = { 1, 2, 3, 4, 5 };
        static const unsigned depths[] = { 0, 0, 1, 2, 2 };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));

        (void) state;

        check_order(&trace, ids, depths);
        assert_int_equal(trace.n_orphans, 2);
}

/* One chain of the greatest length: no recursion may be in it. */
static void test_chain(void **state) {
        _cleanup_(trace_deinit)
                Trace trace = { .spans = calloc(TRACE_SPANS_MAX, sizeof(*trace.spans)), .n_spans = TRACE_SPANS_MAX };

        (void) state;

        for (uint32_t i = 0; i < TRACE_SPANS_MAX; i++) {
                trace.spans[i] = (TraceSpan){ .has_parent = i > 0, .start_ns = i, .end_ns = i + 1 };
                memcpy(trace.spans[i].span_id, &(uint64_t){ i + 1 }, 8);
                memcpy(trace.spans[i].parent_id, &(uint64_t){ i }, 8);
        }
        assert_int_equal(trace_build(&trace), 0);
        for (uint32_t i = 0; i < TRACE_SPANS_MAX; i++) {
                assert_int_equal(trace.order[i], i);
                assert_int_equal(trace.spans[i].depth, i);
        }
}

/* Building again gives the same. */
static void test_again(void **state) {
        static const Row rows[] = { { 1, 3, 0, 1 }, { 2, 1, 1, 2 }, { 3, 2, 2, 3 } };
        _cleanup_(trace_deinit) Trace trace = make(rows, ARRAY_SIZE(rows));
        uint32_t order[3];

        (void) state;

        memcpy(order, trace.order, sizeof(order));
        assert_int_equal(trace_build(&trace), 0);
        assert_memory_equal(order, trace.order, sizeof(order));
        assert_int_equal(trace.n_orphans, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tree),    cmocka_unit_test(test_child_before_parent),
                cmocka_unit_test(test_orphans), cmocka_unit_test(test_rings),
                cmocka_unit_test(test_chain),   cmocka_unit_test(test_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
