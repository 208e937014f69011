/* Pieces of work: what becomes one, how much of an interval they took. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "work.h"

#define MS NSEC_PER_MSEC

static void neighbours_are_one(void **state) {
        WorkList list = {};

        (void) state;
        work_add(&list, EVENT_WORK_CREATE, 10 * MS, 2 * MS);
        work_add(&list, EVENT_WORK_CREATE, 12 * MS, MS);     /* 1 ms later: goes on */
        work_add(&list, EVENT_WORK_CREATE, 14 * MS + 2, MS); /* more than that: another */
        work_add(&list, EVENT_WORK_SYNC, 14 * MS + 3, 1);    /* of another kind */
        work_add(&list, EVENT_WORK_CREATE, 15 * MS, MS / 2);
        work_add(&list, 0, 16 * MS, MS);
        work_add(&list, _EVENT_WORK_MAX, 16 * MS, MS);
        assert_int_equal(list.n, 4);
        assert_int_equal(list.items[0].begin_ns, 8 * MS);
        assert_int_equal(list.items[0].end_ns, 12 * MS);
        assert_int_equal(list.items[0].busy_ns, 3 * MS);
        assert_int_equal(list.items[0].n, 2);
        assert_int_equal(work_within(&list, EVENT_WORK_CREATE, 9 * MS, 11 * MS), 2 * MS);
        assert_int_equal(work_within(&list, EVENT_WORK_CREATE, 8 * MS, 12 * MS), 3 * MS);
        assert_int_equal(work_within(&list, EVENT_WORK_MOUNT, 0, 20 * MS), 0);
        work_forget(&list, 13 * MS);
        assert_int_equal(list.n, 3);
        work_forget(&list, 20 * MS);
        assert_null(list.items);
}

/* Two threads at once: no moment counts twice. */
static void threads_overlap(void **state) {
        WorkList list = {};

        (void) state;
        work_add(&list, EVENT_WAIT_PEER, 10 * MS, 4 * MS);
        work_add(&list, EVENT_WAIT_PEER, 11 * MS, 10 * MS);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.items[0].begin_ns, MS);
        assert_int_equal(list.items[0].busy_ns, 10 * MS);
        work_add(&list, EVENT_WAIT_PEER, 5 * MS, UINT64_MAX); /* since before there was time */
        assert_int_equal(list.items[0].begin_ns, 0);
        work_free(&list);
}

static void bounded(void **state) {
        WorkList list = {};

        (void) state;
        for (uint64_t i = 1; i <= 2 * WORK_MAX; i++)
                work_add(&list, EVENT_WORK_MOUNT, i * 10 * MS, MS);
        assert_int_equal(list.n, WORK_MAX);
        assert_int_equal(list.items[0].end_ns, 10 * MS);
        work_free(&list);
}

static void bursts(void **state) {
        Work works[] = {
                { .begin_ns = 5 * MS, .end_ns = 6 * MS, .busy_ns = MS, .n = 1, .kind = EVENT_WORK_SYNC },
                { .begin_ns = 0, .end_ns = 4 * MS, .busy_ns = 3 * MS, .n = 9, .kind = EVENT_WORK_CREATE },
                { .begin_ns = 20 * MS, .end_ns = 21 * MS, .busy_ns = MS, .n = 1, .kind = EVENT_WORK_CREATE },
                { .begin_ns = 8 * MS, .end_ns = 9 * MS, .busy_ns = MS, .n = 1, .kind = EVENT_WORK_MOUNT },
        };
        Work sum;

        (void) state;
        work_sort(works, 4);
        assert_int_equal(works[0].n, 9);
        assert_int_equal(work_burst(works, 4, &sum), 2);
        assert_int_equal(sum.begin_ns, 0);
        assert_int_equal(sum.end_ns, 6 * MS);
        assert_int_equal(sum.busy_ns, 4 * MS);
        assert_int_equal(sum.n, 10);
        assert_int_equal(work_burst(works + 2, 2, &sum), 1); /* a mount is none with files */
        assert_int_equal(sum.kind, EVENT_WORK_MOUNT);
        assert_int_equal(work_burst(works + 3, 1, &sum), 1);
}

/* On a CPU much shorter gaps count, and what other work tells of it is not told again. */
static void rest_of_runs(void **state) {
        static const Work told[] = {
                { .begin_ns = 0, .end_ns = 2 * MS },
                { .begin_ns = 3 * MS, .end_ns = 4 * MS },
                { .begin_ns = 3 * MS + 1, .end_ns = 3 * MS + 2 }, /* inside the one before */
                { .begin_ns = 4 * MS + 1, .end_ns = 5 * MS },     /* nothing worth telling between */
                { .begin_ns = 20 * MS, .end_ns = 21 * MS },       /* after it */
        };
        Work rest[ARRAY_SIZE(told) + 1];
        WorkList list = {};

        (void) state;
        work_add(&list, EVENT_WORK_RUN, 2 * MS, MS);
        work_add(&list, EVENT_WORK_RUN, 4 * MS, 2 * MS - WORK_RUN_GAP_NS);
        work_add(&list, EVENT_WORK_RUN, 6 * MS, 2 * MS - WORK_RUN_GAP_NS);
        work_add(&list, EVENT_WORK_RUN, 8 * MS, 2 * MS - WORK_RUN_GAP_NS - 1);
        assert_int_equal(list.n, 2);
        assert_int_equal(list.items[0].begin_ns, MS);
        assert_int_equal(list.items[0].end_ns, 6 * MS);

        assert_int_equal(work_rest(&list.items[0], told, ARRAY_SIZE(told), rest), 2);
        assert_int_equal(rest[0].begin_ns, 2 * MS);
        assert_int_equal(rest[0].end_ns, 3 * MS);
        assert_int_equal(rest[0].busy_ns, MS);
        assert_int_equal(rest[0].kind, EVENT_WORK_RUN);
        assert_int_equal(rest[0].n, 0);
        assert_int_equal(rest[1].begin_ns, 5 * MS);
        assert_int_equal(rest[1].end_ns, 6 * MS);

        assert_int_equal(work_rest(&list.items[0], NULL, 0, rest), 1);
        assert_int_equal(rest[0].end_ns, 6 * MS);
        list.items[0].begin_ns = list.items[0].end_ns = 3 * MS; /* a call's end has cut it off */
        assert_int_equal(work_rest(&list.items[0], told, ARRAY_SIZE(told), rest), 0);
        work_free(&list);
}

static void named(void **state) {
        (void) state;
        for (EventWork kind = EVENT_WORK_CREATE; kind < _EVENT_WORK_MAX; kind++) {
                assert_non_null(work_name(kind));
                assert_non_null(work_attribute(kind));
        }
        assert_null(work_name(0));
        assert_null(work_attribute(_EVENT_WORK_MAX));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(neighbours_are_one),
                cmocka_unit_test(threads_overlap),
                cmocka_unit_test(bounded),
                cmocka_unit_test(bursts),
                cmocka_unit_test(rest_of_runs),
                cmocka_unit_test(named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
