#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <cmocka.h>
#include "pressure.h"

#define WALL (UINT64_C(1700000000) * NSEC_PER_SEC)

static void parse(void **state) {
        static const struct {
                const char *s;
                int64_t some, full;
        } cases[] = {
                { "some avg10=95.92 avg60=97.30 avg300=97.73 total=2125300019\n"
                  "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
                  2125300019, 7 },
                { "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n", 3, -1 }, /* of cpu, before Linux 5.13 */
                { "full total=5", -1, 5 },
                { "some avg10=0.00 total=9223372036854775807\nfull total=9223372036854775808\n", INT64_MAX, -1 },
                { "some total=-1\nfull total=\n", -1, -1 },
                { "some total=1 x\n", -1, -1 },
                { "something total=1\nfuller total=2\n", -1, -1 },
                { "", -1, -1 },
                { "\n\n\n", -1, -1 },
                { "some", -1, -1 },
                { "some ", -1, -1 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].s);
                _cleanup_free_ char *exact = malloc(MAX(len, (size_t) 1));
                int64_t some, full;

                memcpy(exact, cases[i].s, len);
                pressure_parse(exact, len, &some, &full);
                if (some != cases[i].some || full != cases[i].full)
                        fail_msg("%s: %ld %ld", cases[i].s, (long) some, (long) full);
        }
}

typedef struct Fixture {
        char dir[64];
        Pressure pressure;
        Clk now;
} Fixture;

static void put(Fixture *f, const char *name, int64_t some, int64_t full) {
        char path[128];
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", f->dir, name);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fprintf(file, "some avg10=0.00 avg60=0.00 avg300=0.00 total=%020ld\n", (long) some) > 0);
        if (full >= 0)
                assert_true(fprintf(file, "full avg10=0.00 avg60=0.00 avg300=0.00 total=%ld\n", (long) full) > 0);
        assert_int_equal(fclose(file), 0);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void) strcpy(f->dir, "/tmp/podspan-test-pressure-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->pressure = (Pressure) PRESSURE_NULL;
        f->now = (Clk){ .realtime_ns = WALL, .monotonic_ns = 77 };
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;
        char command[128];
        int r;

        pressure_close(&f->pressure);
        (void) snprintf(command, sizeof(command), "rm -r -- '%s'", f->dir);
        r = system(command);
        free(f);
        return r;
}

static void take_after(Fixture *f, uint64_t ms) {
        f->now.monotonic_ns += ms * NSEC_PER_MSEC;
        f->now.realtime_ns += ms * NSEC_PER_MSEC;
        pressure_take(&f->pressure, &f->now);
}

static void off(void **state) {
        Fixture *f = *state;
        char words[16];

        pressure_open(&f->pressure, f->dir);
        assert_false(pressure_is_on(&f->pressure));
        assert_string_equal(pressure_words(&f->pressure, words), "off");
        take_after(f, 1000);
        take_after(f, 1000);
        assert_int_equal(f->pressure.n_rows, 0);
        assert_false(pressure_due(&f->pressure, WALL + 1000 * NSEC_PER_SEC));
}

static void differences(void **state) {
        Fixture *f = *state;
        const PressureRow *rows = f->pressure.rows;
        char words[16];

        put(f, "cpu", 1000000, -1);
        put(f, "memory", 5, 3);
        pressure_open(&f->pressure, f->dir);
        assert_string_equal(pressure_words(&f->pressure, words), "cpu,memory");

        /* The first reading is a beginning. */
        take_after(f, 0);
        assert_int_equal(f->pressure.n_rows, 0);
        put(f, "cpu", 1500000, -1);
        take_after(f, 1000);
        assert_int_equal(f->pressure.n_rows, 1);
        assert_int_equal(rows[0].at_ns, WALL + NSEC_PER_SEC);
        assert_int_equal(rows[0].seconds, 1);
        assert_int_equal(rows[0].us[PRESSURE_CPU_SOME], 500000);
        assert_int_equal(rows[0].us[PRESSURE_CPU_FULL], -1);
        assert_int_equal(rows[0].us[PRESSURE_IO_SOME], -1);
        assert_int_equal(rows[0].us[PRESSURE_MEMORY_SOME], 0);
        assert_int_equal(rows[0].us[PRESSURE_MEMORY_FULL], 0);

        /* A late one, and one too early. */
        put(f, "cpu", 1600000, -1);
        put(f, "memory", 2000005, 1);
        take_after(f, 2600);
        take_after(f, 100);
        assert_int_equal(f->pressure.n_rows, 2);
        assert_int_equal(rows[1].seconds, 3);
        assert_int_equal(rows[1].us[PRESSURE_CPU_SOME], 100000);
        assert_int_equal(rows[1].us[PRESSURE_MEMORY_SOME], 2000000);
        /* It went back. */
        assert_int_equal(rows[1].us[PRESSURE_MEMORY_FULL], -1);

        put(f, "cpu", INT64_MAX, -1);
        take_after(f, 900);
        assert_int_equal(rows[2].us[PRESSURE_CPU_SOME], INT32_MAX);

        assert_false(pressure_due(&f->pressure, f->now.realtime_ns));
        assert_true(pressure_due(&f->pressure, rows[0].at_ns + PRESSURE_WAIT_NS));
        assert_true(pressure_due(&f->pressure, rows[0].at_ns - 1));
        pressure_clear(&f->pressure);
        assert_false(pressure_due(&f->pressure, rows[0].at_ns + PRESSURE_WAIT_NS));
}

static void quiet(void **state) {
        Fixture *f = *state;
        const PressureRow *rows = f->pressure.rows;

        put(f, "io", 0, 0);
        pressure_open(&f->pressure, f->dir);
        for (int i = 0; i <= PRESSURE_QUIET_MAX + 1; i++) {
                put(f, "io", 2 * i, i);
                take_after(f, 1000);
        }
        assert_int_equal(f->pressure.n_rows, 2);
        assert_int_equal(rows[0].seconds, PRESSURE_QUIET_MAX);
        assert_int_equal(rows[0].us[PRESSURE_IO_SOME], 2 * PRESSURE_QUIET_MAX);
        assert_int_equal(rows[0].us[PRESSURE_IO_FULL], PRESSURE_QUIET_MAX);
        assert_int_equal(rows[0].us[PRESSURE_CPU_SOME], -1);
        assert_int_equal(rows[1].seconds, 1);

        /* Of interest, and then not. */
        put(f, "io", 100000, PRESSURE_QUIET_MAX);
        take_after(f, 1000);
        take_after(f, 1000);
        take_after(f, 1000);
        assert_int_equal(f->pressure.n_rows, 4);
        assert_int_equal(rows[3].seconds, 2);
}

static void bounded(void **state) {
        Fixture *f = *state;
        const PressureRow *rows = f->pressure.rows;

        put(f, "cpu", 0, 0);
        pressure_open(&f->pressure, f->dir);
        for (int i = 0; i <= PRESSURE_ROWS_MAX + 3; i++) {
                put(f, "cpu", i * INT64_C(10000), 0);
                take_after(f, 1000);
        }
        assert_int_equal(f->pressure.n_rows, PRESSURE_ROWS_MAX);
        assert_int_equal(rows[0].at_ns, WALL + 5 * NSEC_PER_SEC);
        assert_int_equal(rows[PRESSURE_ROWS_MAX - 1].at_ns, f->now.realtime_ns);
        assert_true(pressure_due(&f->pressure, rows[0].at_ns));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parse), TEST(off), TEST(differences), TEST(quiet), TEST(bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
