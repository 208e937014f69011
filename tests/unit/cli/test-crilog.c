/* The last lines of a container's log, which is the pod's own text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "crilog.h"
#include "util.h"

#define T "2026-12-01T10:00:03.123456789Z "

static void test_parse(void **state) {
        static const struct {
                const char *line;
                bool ok, partial;
                const char *text;
        } cases[] = {
                { T "stdout F hello", true, false, "hello" },
                { T "stderr P par ", true, true, "par " },
                { T "stdout F ", true, false, "" },
                { T "stdout F:x hello", true, false, "hello" },
                { T "stdout P:x:y hello", true, true, "hello" },
                { T "stdout F", false, false, NULL },
                { T "stdout X hello", false, false, NULL },
                { T "stdout Fx hello", false, false, NULL },
                { T "stdall F hello", false, false, NULL },
                { T "std F hello", false, false, NULL },
                { "10:00 stdout F hello", false, false, NULL },
                { "2026-12-01X10:00:03.123456789Z stdout F hello", false, false, NULL },
                { " stdout F hello", false, false, NULL },
                { "", false, false, NULL },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                CrilogRecord record;

                assert_int_equal(crilog_parse(cases[i].line, strlen(cases[i].line), &record), cases[i].ok);
                if (!cases[i].ok)
                        continue;
                assert_int_equal(record.partial, cases[i].partial);
                assert_int_equal(record.n_text, strlen(cases[i].text));
                assert_memory_equal(record.text, cases[i].text, record.n_text);
        }
}

static void tail(const char *s, bool cut, Crilog *ret) {
        size_t n = strlen(s);
        char *exact = malloc(n ?: 1);

        memcpy(exact, s, n);
        crilog_tail(exact, n, cut, ret);
        free(exact);
}

static void test_tail(void **state) {
        char many[4096] = "", expected[32];
        static Crilog log;

        (void) state;

        for (int i = 0; i < 25; i++)
                (void) snprintf(many + strlen(many), sizeof(many) - strlen(many), T "stdout F line %d\n", i);
        tail(many, false, &log);
        assert_int_equal(log.n, CRILOG_LINES);
        for (int i = 0; i < CRILOG_LINES; i++) {
                (void) snprintf(expected, sizeof(expected), "line %d", 15 + i);
                assert_string_equal(log.lines[i], expected);
        }

        /* Parts of a line come together, those of two streams too; what is no record is left out. */
        tail("dout F cut\n" T "stdout P a\n" T "stderr P x\n" T "stdout F b\nnonsense\n" T "stderr F y", true, &log);
        assert_int_equal(log.n, 2);
        assert_string_equal(log.lines[0], "ab");
        assert_string_equal(log.lines[1], "xy");

        tail("", false, &log);
        assert_int_equal(log.n, 0);

        /* A part whose line was overwritten begins anew. */
        (void) snprintf(many, sizeof(many), T "stderr P old\n");
        for (int i = 0; i < CRILOG_LINES; i++)
                (void) snprintf(many + strlen(many), sizeof(many) - strlen(many), T "stdout F %d\n", i);
        (void) snprintf(many + strlen(many), sizeof(many) - strlen(many), T "stderr F new\n");
        tail(many, false, &log);
        assert_int_equal(log.n, CRILOG_LINES);
        assert_string_equal(log.lines[CRILOG_LINES - 1], "new");
        assert_string_equal(log.lines[0], "1");
}

static void test_long(void **state) {
        _cleanup_free_ char *text = malloc(8192);
        static Crilog log;

        (void) state;

        (void) snprintf(text, 8192, T "stdout P ");
        memset(text + strlen(text), 'x', 4000);
        text[strlen(T "stdout P ") + 4000] = '\0';
        strcat(text, "\n" T "stdout F more\n");
        tail(text, false, &log);
        assert_int_equal(log.n, 1);
        assert_int_equal(strlen(log.lines[0]), CRILOG_TEXT_MAX - 1);
}

static void test_paths(void **state) {
        static Crilog log;

        (void) state;

        assert_int_equal(crilog_read("/nonexistent", "ns", "pod", "uid", "main", 0, &log), -ENOENT);
        assert_int_equal(crilog_read("/", "..", "pod", "uid", "main", 0, &log), -EINVAL);
        assert_int_equal(crilog_read("/", "ns", "a/b", "uid", "main", 0, &log), -EINVAL);
        assert_int_equal(crilog_read("/", "ns", "pod", "uid", "..", 0, &log), -EINVAL);
        assert_int_equal(crilog_read("/", "ns", "pod", "uid", "", 0, &log), -EINVAL);
        assert_int_equal(crilog_read("/", "ns", "pod", "uid", "main", -1, &log), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_tail),
                cmocka_unit_test(test_long),
                cmocka_unit_test(test_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
