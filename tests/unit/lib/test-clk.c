#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "clk.h"
#include "util.h"

static Clk now;

/* A clock of its own for the test: every reading takes 50 ns, and before the readings named here something else runs.
 */
static struct {
        bool on;
        uint64_t ns;
        unsigned n; /* readings so far */
        uint64_t pause_ns[12];
} slow;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret) {
        uint64_t ns;

        if (!slow.on)
                return __real_clock_gettime(id, ret);
        assert_true(slow.n < ARRAY_SIZE(slow.pause_ns));
        slow.ns += 50 + slow.pause_ns[slow.n++];
        ns = slow.ns + (id == CLOCK_REALTIME ? 1000 * NSEC_PER_SEC : 0);
        *ret = (struct timespec){ .tv_sec = (time_t) (ns / NSEC_PER_SEC), .tv_nsec = (long) (ns % NSEC_PER_SEC) };
        return 0;
}

/* Both belong to the same moment, whatever comes between, if not always. */
static void test_interrupted(void **state) {
        static const struct {
                uint64_t pause_ns[12];
                unsigned n; /* readings it takes */
                uint64_t apart_ns;
        } cases[] = {
                { { 0 }, 3, 50 },
                { { 0, 10 * NSEC_PER_MSEC }, 5, 50 },
                { { 0, 0, 10 * NSEC_PER_MSEC }, 5, 50 },
                { { 5 * NSEC_PER_MSEC }, 3, 50 },
                { { 0, 9 * NSEC_PER_MSEC, 0, 9 * NSEC_PER_MSEC, 0, 0, 9 * NSEC_PER_MSEC, 0, 100000 }, 9, 100000 },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t offset;
                Clk read;

                slow.ns = 50 * NSEC_PER_SEC;
                slow.n = 0;
                memcpy(slow.pause_ns, cases[i].pause_ns, sizeof(slow.pause_ns));
                slow.on = true;
                read = clk_now();
                slow.on = false;
                assert_int_equal(slow.n, cases[i].n);
                assert_true(read.monotonic_ns > 50 * NSEC_PER_SEC && read.monotonic_ns <= slow.ns);
                offset = read.realtime_ns - read.monotonic_ns;
                assert_true(offset <= 1000 * NSEC_PER_SEC + cases[i].apart_ns &&
                            offset >= 1000 * NSEC_PER_SEC - cases[i].apart_ns);
        }
}

static Clk fake(void) {
        return now;
}

static void test_real(void **state) {
        Clk a, b;

        (void) state;

        a = clk_now();
        b = clk_now();
        assert_true(b.monotonic_ns >= a.monotonic_ns);
        assert_true(a.realtime_ns / NSEC_PER_SEC + 1 >= (uint64_t) time(NULL));
        assert_true(a.realtime_ns / NSEC_PER_SEC <= (uint64_t) time(NULL) + 1); /* time(2) is coarse */
        assert_true(clk_monotonic() >= b.monotonic_ns);
        assert_true(clk_monotonic() - a.monotonic_ns < 60 * NSEC_PER_SEC);
}

static void test_stepped(void **state) {
        Clk start;

        (void) state;

        now = (Clk){ .realtime_ns = 1000 * NSEC_PER_SEC, .monotonic_ns = 50 * NSEC_PER_SEC };
        clk_override(fake);
        start = clk_now();
        assert_true(start.realtime_ns == now.realtime_ns);

        /* An hour back on the wall, two seconds in truth. */
        now.realtime_ns -= 3600 * NSEC_PER_SEC;
        now.monotonic_ns += 2 * NSEC_PER_SEC;
        assert_true(clk_realtime() == now.realtime_ns);
        assert_true(clk_end(&start, clk_monotonic()) == 1002 * NSEC_PER_SEC);

        /* An event noted before its start has no length, not nearly 2^64 ns. */
        assert_true(clk_end(&start, start.monotonic_ns - 1) == start.realtime_ns);

        clk_override(NULL);
        assert_true(clk_realtime() > 1000000 * NSEC_PER_SEC);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_real),
                cmocka_unit_test(test_interrupted),
                cmocka_unit_test(test_stepped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
