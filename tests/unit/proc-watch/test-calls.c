/* Calls in flight by the names of their context files: which was alone, and when. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include "calls.h"

#define MS   NSEC_PER_MSEC
#define WALL (UINT64_C(1700000000) * NSEC_PER_SEC)
#define RUN  "1-RunPodSandbox-x-x-0123456789abcdef-12-1"
#define POD2 "1-RunPodSandbox-x-x-0123456789abcdee-12-2"
#define EXEC "1-ExecSync-0123456789abcdef-x-x-12-3"

static Clk at(uint64_t ns) {
        return (Clk){ .realtime_ns = WALL + ns, .monotonic_ns = ns };
}

static ContextRecord record_of(uint64_t ns) {
        ContextRecord record = { .operation = "RunPodSandbox", .start_ns = WALL + ns };

        memcpy(record.identity.pod_uid, "uid", 4);
        assert_int_equal(tracecontext_new_root(&record.trace), 0);
        return record;
}

static void begin(Calls *calls, const char *name, uint64_t ns) {
        const ContextRecord record = record_of(ns - MS);
        const Clk now = at(ns);

        calls_begin(calls, name, false, calls_followed(name) ? &record : NULL, ns - MS, &now);
}

static void begin_young(Calls *calls, const char *name, uint64_t ns) {
        const ContextRecord record = record_of(ns - MS);
        const Clk now = at(ns);

        calls_begin(calls, name, true, calls_followed(name) ? &record : NULL, ns - MS, &now);
}

static int end_unseen(Calls *calls, uint64_t ns, StoryCall *ret, StoryInterval *others) {
        const Clk now = at(ns);

        return calls_end_unseen(calls, &now, ret, others);
}

static bool end(Calls *calls, const char *name, uint64_t ns, StoryCall *ret, StoryInterval *others) {
        const Clk now = at(ns);

        return calls_end(calls, name, &now, ret, others);
}

static bool single(const Calls *calls) {
        const Clk now = at(60 * MS);

        return calls_single(calls, &now);
}

static void which(void **state) {
        (void) state;
        assert_true(calls_followed(RUN));
        assert_true(calls_followed("1-StartContainer-x-x-x-1-1"));
        assert_false(calls_followed(EXEC));
        assert_false(calls_followed("1-PullImage-x-x-x-1-1"));
        assert_false(calls_followed("1-RunPodSandbox"));
        assert_false(calls_followed("9-RunPodSandbox-x-x-x-1-1"));
        assert_false(calls_followed(".1-RunPodSandbox-x-x-x-1-1"));
        assert_false(calls_followed(""));
}

static void alone(void **state) {
        StoryInterval others[CALLS_MAX];
        Calls calls = {};
        StoryCall call;

        (void) state;
        assert_false(single(&calls));
        begin(&calls, RUN, 10 * MS);
        begin(&calls, RUN, 11 * MS); /* told twice */
        assert_true(single(&calls));
        assert_true(end(&calls, RUN, 50 * MS, &call, others));
        assert_int_equal(call.time.begin_ns, 9 * MS); /* as its file says, not when it was seen */
        assert_int_equal(call.time.end_ns, 50 * MS);
        assert_int_equal(call.n_others, 0);
        assert_false(single(&calls));
        assert_false(end(&calls, RUN, 51 * MS, &call, others));
        calls_clear(&calls);
}

static void with_others(void **state) {
        StoryInterval others[CALLS_MAX];
        Calls calls = {};
        StoryCall call;
        Clk now = at(25 * MS);

        (void) state;
        begin(&calls, RUN, 10 * MS);
        begin(&calls, EXEC, 20 * MS);
        assert_false(single(&calls));
        assert_int_equal(calls_since(&calls, &now), 9 * MS);
        assert_false(end(&calls, EXEC, 30 * MS, &call, others)); /* a probe: nothing is told of it */
        assert_true(single(&calls));
        begin(&calls, POD2, 40 * MS);
        assert_true(end(&calls, RUN, 50 * MS, &call, others));
        assert_int_equal(call.n_others, 2);
        for (size_t i = 0; i < 2; i++)
                assert_true((others[i].begin_ns == 19 * MS && others[i].end_ns == 30 * MS) ||
                            (others[i].begin_ns == 39 * MS && others[i].end_ns == UINT64_MAX));
        assert_true(end(&calls, POD2, 60 * MS, &call, others));
        assert_int_equal(call.n_others, 1); /* the probe was over before it began */
        calls_clear(&calls);
}

/* A call that never had a file is over when it is told of no more; one that got it, when that goes. */
static void young(void **state) {
        StoryInterval others[CALLS_MAX];
        Calls calls = {};
        StoryCall call;

        (void) state;
        begin_young(&calls, RUN, 10 * MS);
        assert_true(single(&calls));
        assert_int_equal(end_unseen(&calls, 11 * MS, &call, others), -ENOENT);
        calls_look(&calls);
        begin_young(&calls, RUN, 12 * MS);
        begin_young(&calls, EXEC, 12 * MS);
        begin_young(&calls, POD2, 12 * MS);
        assert_false(single(&calls));
        assert_int_equal(end_unseen(&calls, 12 * MS, &call, others), -ENOENT);

        begin(&calls, RUN, 13 * MS); /* its file */
        calls_look(&calls);
        begin_young(&calls, EXEC, 14 * MS);
        assert_int_equal(end_unseen(&calls, 14 * MS, &call, others), 1);
        assert_int_equal(call.time.begin_ns, 11 * MS);
        assert_int_equal(call.time.end_ns, 14 * MS);
        assert_int_equal(call.n_others, 2);
        assert_int_equal(end_unseen(&calls, 14 * MS, &call, others), -ENOENT);
        calls_look(&calls);
        assert_int_equal(end_unseen(&calls, 15 * MS, &call, others), 0); /* the probe */
        assert_int_equal(end_unseen(&calls, 15 * MS, &call, others), -ENOENT);
        assert_true(single(&calls));
        begin_young(&calls, RUN, 16 * MS); /* read before it had been taken away there */
        calls_look(&calls);
        assert_int_equal(end_unseen(&calls, 17 * MS, &call, others), -ENOENT);
        assert_true(end(&calls, RUN, 20 * MS, &call, others));
        assert_int_equal(call.time.begin_ns, 9 * MS);
        calls_clear(&calls);
}

/* One whose file was left behind is not followed for ever. */
static void left_behind(void **state) {
        const Clk before = at(9 * MS + CALLS_FOLLOW_NS - 1), after = at(9 * MS + CALLS_FOLLOW_NS);
        Calls calls = {};

        (void) state;
        begin(&calls, RUN, 10 * MS);
        assert_true(calls_single(&calls, &before));
        assert_false(calls_single(&calls, &after));
        calls_clear(&calls);
}

/* Above the bound none is the only one, until it is known again who is there. */
static void bounded(void **state) {
        StoryInterval others[CALLS_MAX];
        Calls calls = {};
        StoryCall call;
        char name[64];

        (void) state;
        for (unsigned i = 0; i < CALLS_MAX + 3; i++) {
                (void) snprintf(name, sizeof(name), "1-StartContainer-x-x-x-1-%x", i);
                begin(&calls, name, 10 * MS);
        }
        assert_int_equal(calls.n, CALLS_MAX);
        assert_int_equal(calls.n_unknown, 3);
        for (unsigned i = 0; i < CALLS_MAX + 2; i++) {
                (void) snprintf(name, sizeof(name), "1-StartContainer-x-x-x-1-%x", i);
                assert_false(end(&calls, name, 20 * MS, &call, others));
                assert_false(single(&calls));
        }
        (void) snprintf(name, sizeof(name), "1-StartContainer-x-x-x-1-%x", CALLS_MAX + 2);
        assert_false(end(&calls, name, 20 * MS, &call, others));
        begin(&calls, RUN, 30 * MS);
        assert_true(single(&calls));

        /* Young ones above it count as long as they are told of. */
        for (unsigned i = 0; i < CALLS_MAX; i++) {
                (void) snprintf(name, sizeof(name), "1-ExecSync-x-x-x-1-%x", i);
                begin_young(&calls, name, 31 * MS);
        }
        assert_int_equal(calls.n, CALLS_MAX);
        assert_int_equal(calls.n_young_unknown, 1);
        calls_look(&calls);
        assert_int_equal(calls.n_young_unknown, 0);
        while (end_unseen(&calls, 32 * MS, &call, others) >= 0)
                ;
        assert_true(single(&calls));
        assert_true(end(&calls, RUN, 40 * MS, &call, others));
        calls_clear(&calls);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(which), cmocka_unit_test(alone),       cmocka_unit_test(with_others),
                cmocka_unit_test(young), cmocka_unit_test(left_behind), cmocka_unit_test(bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
