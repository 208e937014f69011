#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>
#include "clk.h"
#include "util.h"

static Clk now;

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
                cmocka_unit_test(test_stepped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
