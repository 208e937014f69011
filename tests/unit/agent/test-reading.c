#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "reading.h"

#define A "1-00000000000000000001-1-0.otlp"
#define B "1-00000000000000000002-1-0.otlp"
#define C "1-00000000000000000003-1-0.otlp"

typedef struct Bench {
        char dir[64];
        int fd;
        Reading reading;
} Bench;

static int setup(void **state) {
        Bench *bench = calloc(1, sizeof(*bench));

        assert_non_null(bench);
        (void) strcpy(bench->dir, "/tmp/podspan-test-reading-XXXXXX");
        assert_non_null(mkdtemp(bench->dir));
        bench->fd = open(bench->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(bench->fd >= 0);
        bench->reading = (Reading) READING_NULL;
        assert_int_equal(reading_init(&bench->reading, bench->fd), 0);
        *state = bench;
        return 0;
}

static int teardown(void **state) {
        Bench *bench = *state;

        reading_deinit(&bench->reading);
        (void) unlinkat(bench->fd, READING_FILE, 0);
        close_fd(bench->fd);
        (void) rmdir(bench->dir);
        free(bench);
        return 0;
}

/* As if it had been killed here. */
static void die(Bench *bench) {
        reading_deinit(&bench->reading);
        bench->reading = (Reading) READING_NULL;
        assert_int_equal(reading_init(&bench->reading, bench->fd), 0);
}

static void write_note(Bench *bench, const char *note, size_t size) {
        _cleanup_close_ int fd = openat(bench->fd, READING_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(util_write_all(fd, note, size), 0);
        die(bench);
}

static void nothing_after_a_turn(void **state) {
        Bench *bench = *state;

        assert_int_equal(reading_begin(&bench->reading, A), 0);
        assert_int_equal(reading_begin(&bench->reading, B), 0);
        assert_int_equal(reading_end(&bench->reading), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, A), 0);
        assert_int_equal(reading_deaths(&bench->reading, B), 0);
}

static void deaths_are_counted(void **state) {
        Bench *bench = *state;

        assert_int_equal(reading_begin(&bench->reading, A), 0);
        assert_int_equal(reading_begin(&bench->reading, B), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, A), 1);
        assert_int_equal(reading_deaths(&bench->reading, B), 1);
        assert_int_equal(reading_deaths(&bench->reading, C), 0);

        /* The other one stays a suspect, whatever becomes of the first. */
        assert_int_equal(reading_begin(&bench->reading, A), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, A), READING_DEATHS_MAX);
        assert_int_equal(reading_deaths(&bench->reading, B), 1);

        reading_forget(&bench->reading, A);
        assert_int_equal(reading_begin(&bench->reading, B), 0);
        assert_int_equal(reading_end(&bench->reading), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, A), 0);
        assert_int_equal(reading_deaths(&bench->reading, B), 0);
}

static void others_stay_suspects(void **state) {
        Bench *bench = *state;

        assert_int_equal(reading_begin(&bench->reading, A), 0);
        assert_int_equal(reading_begin(&bench->reading, B), 0);
        die(bench);
        assert_int_equal(reading_begin(&bench->reading, A), 0);
        assert_int_equal(reading_end(&bench->reading), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, A), 0);
        assert_int_equal(reading_deaths(&bench->reading, B), 1);
        assert_int_equal(reading_clear(&bench->reading), 0);
        die(bench);
        assert_int_equal(reading_deaths(&bench->reading, B), 0);
}

static void any_note(void **state) {
        static const char note[] = "1 " A "\n2 " B "\n0 " C "\nx " C "\n1 ../../etc/passwd\n1\n\n1 \n9 " C "\n1 " C;
        Bench *bench = *state;

        for (size_t size = 0; size < sizeof(note); size++) {
                write_note(bench, note, size);
                assert_true(reading_deaths(&bench->reading, A) <= 1);
                assert_true(reading_deaths(&bench->reading, B) <= 2);
        }
        write_note(bench, note, sizeof(note) - 1);
        assert_int_equal(reading_deaths(&bench->reading, A), 1);
        assert_int_equal(reading_deaths(&bench->reading, B), 2);
        assert_int_equal(reading_deaths(&bench->reading, C), 9);
        assert_int_equal(reading_deaths(&bench->reading, "../../etc/passwd"), 0);
}

/* More than fit: the rest is not noted, and said. */
static void full(void **state) {
        Bench *bench = *state;
        char name[64];
        int r = 0, n = 0;

        while (r == 0 && n <= READING_MAX) {
                (void) snprintf(name, sizeof(name), "1-%020d-1-0.otlp", n++);
                r = reading_begin(&bench->reading, name);
        }
        assert_int_equal(r, -ENOBUFS);
        assert_int_equal(n, READING_MAX + 1);
        assert_int_equal(reading_end(&bench->reading), 0);
        assert_int_equal(reading_begin(&bench->reading, A), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(nothing_after_a_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(deaths_are_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(others_stay_suspects, setup, teardown),
                cmocka_unit_test_setup_teardown(any_note, setup, teardown),
                cmocka_unit_test_setup_teardown(full, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
