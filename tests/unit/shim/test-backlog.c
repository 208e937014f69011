#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "backlog.h"

/* What a reader has, as text; streams alternate in capitals. */
typedef struct Reader {
        BacklogMark mark;
        char text[64];
} Reader;

static void add(Backlog *backlog, uint8_t stream, const char *text, Reader *fresh, size_t skip) {
        BacklogMark begin;

        assert_int_equal(backlog_add(backlog, stream, (const uint8_t *) text, strlen(text), &begin), 0);
        if (fresh)
                backlog_enter(&fresh->mark, &begin, skip);
}

static void take(Backlog *backlog, Reader *reader, size_t part_max, size_t n) {
        while (n > 0) {
                BacklogPart part;

                assert_int_equal(backlog_peek(&reader->mark, 1, part_max, &part), 1);
                assert_true(part.n > 0 && part.n <= part_max);
                part.n = MIN(part.n, n);
                strncat(reader->text, (const char *) part.data, part.n);
                backlog_advance(backlog, &reader->mark, part.n);
                n -= part.n;
        }
}

static void test_readers(_unused_ void **userdata) {
        Backlog backlog = { 0 };
        Reader a = { 0 }, b = { 0 };
        BacklogPart parts[4];

        assert_false(backlog_behind(&a.mark));
        assert_int_equal(backlog_left(&a.mark), 0);
        assert_int_equal(backlog_peek(&a.mark, 4, 100, parts), 0);

        add(&backlog, 2, "0123", &a, 1);
        assert_int_equal(backlog_left(&a.mark), 3);
        add(&backlog, 2, "4567", NULL, 0);
        add(&backlog, 3, "ABCD", &b, 0);
        add(&backlog, 2, "89", NULL, 0);
        assert_int_equal(backlog_left(&a.mark), 13);
        assert_int_equal(backlog_left(&b.mark), 6);

        /* Small writes of one stream lie together. */
        assert_int_equal(backlog_peek(&a.mark, 4, 5, parts), 4);
        assert_int_equal(parts[0].n, 5);
        assert_memory_equal(parts[0].data, "12345", 5);
        assert_int_equal(parts[1].n, 2);
        assert_int_equal(parts[2].stream, 3);
        assert_int_equal(parts[3].stream, 2);

        take(&backlog, &a, 100, 7);
        take(&backlog, &b, 3, 6);
        assert_string_equal(b.text, "ABCD89");
        assert_false(backlog_behind(&b.mark));
        take(&backlog, &a, 2, 6);
        assert_string_equal(a.text, "1234567ABCD89");
        assert_false(backlog_behind(&a.mark));
        assert_int_equal(backlog.size, 0);
        assert_null(backlog.first);
}

/* Memory goes with the last reader that needs it, whoever that is. */
static void test_memory(_unused_ void **userdata) {
        static uint8_t data[BACKLOG_PIECE_MIN + 1];
        Backlog backlog = { 0 };
        BacklogMark begin, marks[3] = { 0 };
        size_t full, one;

        for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
                assert_int_equal(backlog_add(&backlog, 2, data, sizeof(data), &begin), 0);
                backlog_enter(&marks[i], &begin, 0);
        }
        full = backlog.size;
        one = full / 3;
        assert_int_equal(full, 3 * one);
        assert_true(one > sizeof(data));

        backlog_leave(&backlog, &marks[1]);
        assert_int_equal(backlog.size, full);
        backlog_advance(&backlog, &marks[0], sizeof(data) + 1);
        assert_int_equal(backlog.size, 2 * one);
        backlog_advance(&backlog, &marks[0], 2 * sizeof(data) - 1);
        assert_int_equal(backlog.size, one);
        assert_int_equal(backlog_left(&marks[2]), sizeof(data));
        backlog_leave(&backlog, &marks[2]);
        backlog_leave(&backlog, &marks[2]);
        assert_int_equal(backlog.size, 0);

        /* Small writes share what is allocated. */
        for (size_t i = 0; i < BACKLOG_PIECE_MIN; i++) {
                assert_int_equal(backlog_add(&backlog, 2, data, 1, &begin), 0);
                if (i == 0)
                        backlog_enter(&marks[0], &begin, 0);
        }
        assert_true(backlog.size <= one);
        assert_int_equal(backlog_left(&marks[0]), BACKLOG_PIECE_MIN);
        backlog_advance(&backlog, &marks[0], BACKLOG_PIECE_MIN);
        assert_int_equal(backlog.size, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_readers),
                cmocka_unit_test(test_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
