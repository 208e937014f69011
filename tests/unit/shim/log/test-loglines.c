#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "loglines.h"

#define LONGEST LOGS_LINE_MAX

static LogLines lines;

/* One record as expected: this many bytes, ended by a newline or not, at a line's begin or not. */
typedef struct Expected {
        size_t size;
        bool partial;
        bool first;
} Expected;

static const struct {
        const char *what;
        const char *text;
        size_t x; /* so many 'x' before the text */
        Expected records[4];
        size_t n;
        size_t held;
} cases[] = {
        { "nothing", "", 0, {}, 0, 0 },
        { "a line", "abc\n", 0, { { 3, false, true } }, 1, 0 },
        { "an empty line", "\n", 0, { { 0, false, true } }, 1, 0 },
        { "two lines and a rest", "a\nbc\nd", 0, { { 1, false, true }, { 2, false, true } }, 2, 1 },
        { "no newline at all", "abc", 0, {}, 0, 3 },
        { "the longest whole line", "\n", LONGEST, { { LONGEST, false, true } }, 1, 0 },
        { "the longest rest", "", LONGEST, {}, 0, LONGEST },
        { "one byte more", "y", LONGEST, { { LONGEST, true, true } }, 1, 1 },
        { "one byte more and its end", "y\n", LONGEST, { { LONGEST, true, true }, { 1, false, false } }, 2, 0 },
        { "twice the longest", "\n", 2 * LONGEST, { { LONGEST, true, true }, { LONGEST, false, false } }, 2, 0 },
        { "a line behind a long one",
          "y\nz\n",
          LONGEST,
          { { LONGEST, true, true }, { 1, false, false }, { 1, false, true } },
          3,
          0 },
};

/* Feeds @n bytes in pieces of @step, checks records and content. */
static void feed(size_t which, const uint8_t *input, size_t n, size_t step) {
        size_t seen = 0, at = 0;

        loglines_init(&lines);
        for (size_t done = 0; done < n; done += step) {
                const size_t piece = MIN(step, n - done);
                uint8_t *exact = malloc(piece);
                const uint8_t *data = exact;
                size_t left = piece;
                LogLinesRecord record;

                assert_non_null(exact);
                memcpy(exact, input + done, piece);
                while (loglines_next(&lines, &data, &left, 7, &record)) {
                        const Expected *expected = &cases[which].records[seen];

                        if (seen >= cases[which].n || record.head_len + record.tail_len != expected->size ||
                            record.partial != expected->partial || record.first != expected->first)
                                fail_msg("%s in pieces of %zu: record %zu", cases[which].what, step, seen);
                        assert_memory_equal(record.head, input + at, record.head_len);
                        assert_memory_equal(record.tail, input + at + record.head_len, record.tail_len);
                        at += expected->size + !record.partial;
                        seen++;
                }
                assert_int_equal(left, 0);
                assert_ptr_equal(data, exact + piece);
                free(exact);
        }
        if (seen != cases[which].n || lines.n_held != cases[which].held)
                fail_msg("%s in pieces of %zu: %zu records, %zu held", cases[which].what, step, seen, lines.n_held);
}

static void however_it_is_cut(void **state) {
        static const size_t steps[] = { 1, 2, 3, 7, LONGEST - 1, LONGEST, LONGEST + 1, LONGEST + 2, 3 * LONGEST };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const size_t text = strlen(cases[i].text), n = cases[i].x + text;
                _cleanup_free_ uint8_t *input = malloc(n + 1);

                assert_non_null(input);
                memset(input, 'x', cases[i].x);
                memcpy(input + cases[i].x, cases[i].text, text);
                for (size_t k = 0; k < ARRAY_SIZE(steps); k++)
                        feed(i, input, n, steps[k]);
        }
}

static void rest_and_deadline(void **state) {
        const uint8_t *data = (const uint8_t *) "one\ntwo";
        LogLinesRecord record;
        size_t n = 7;

        (void) state;
        loglines_init(&lines);
        assert_true(loglines_deadline(&lines) == UINT64_MAX);
        assert_false(loglines_rest(&lines, &record));

        assert_true(loglines_next(&lines, &data, &n, 5, &record));
        assert_true(loglines_deadline(&lines) == UINT64_MAX);
        assert_false(loglines_next(&lines, &data, &n, 5, &record));
        assert_true(loglines_deadline(&lines) == 5 + LOGS_PARTIAL_NS);

        /* more of it moves the deadline */
        data = (const uint8_t *) "three";
        n = 5;
        assert_false(loglines_next(&lines, &data, &n, 9, &record));
        assert_true(loglines_deadline(&lines) == 9 + LOGS_PARTIAL_NS);

        assert_true(loglines_rest(&lines, &record));
        assert_int_equal(record.head_len, 8);
        assert_memory_equal(record.head, "twothree", 8);
        assert_true(record.partial && record.first);
        assert_true(loglines_deadline(&lines) == UINT64_MAX);
        assert_false(loglines_rest(&lines, &record));

        /* what follows continues that line, and the next does not */
        data = (const uint8_t *) "\nx\n";
        n = 3;
        assert_true(loglines_next(&lines, &data, &n, 9, &record));
        assert_int_equal(record.head_len + record.tail_len, 0);
        assert_true(!record.partial && !record.first);
        assert_true(loglines_next(&lines, &data, &n, 9, &record));
        assert_true(!record.partial && record.first);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(however_it_is_cut),
                cmocka_unit_test(rest_and_deadline),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
