#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "diff.h"

static Bytes bytes(const char *s) {
        return (Bytes){ (char *) s, strlen(s) };
}

static void check_print(const char *a, const char *b, const char *expected) {
        Bytes ba = a ? bytes(a) : (Bytes) BYTES_NULL, bb = b ? bytes(b) : (Bytes) BYTES_NULL;
        _cleanup_free_ char *text = NULL;
        size_t n;
        FILE *out = open_memstream(&text, &n);

        assert_non_null(out);
        assert_int_equal(diff_print(out, "/f", a ? &ba : NULL, b ? &bb : NULL), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, expected);
}

static void test_print(void **state) {
        (void) state;
        check_print("a\nb\nc\n", "a\nB\nc\n", "--- /f\n+++ /f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        check_print(NULL, "x\n", "--- /dev/null\n+++ /f\n@@ -0,0 +1,1 @@\n+x\n");
        check_print("x", NULL, "--- /f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n\\ No newline at end of file\n");
        check_print("x", "x\ny\n", "--- /f\n+++ /f\n@@ -1,1 +1,2 @@\n-x\n\\ No newline at end of file\n+x\n+y\n");
        check_print("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                    "--- /f\n+++ /f\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -7,4 +8,3 @@\n 7\n 8\n 9\n-10\n");
        check_print("same\n", "same\n", "--- /f\n+++ /f\n");
}

static void test_undo(void **state) {
        static const struct {
                const char *before, *after, *mine, *result;
                int conflicts;
        } cases[] = {
                { "a\nold\nb\n", "a\nNEW\nb\n", "a\nNEW\nb\n", "a\nold\nb\n", 0 },
                { "a\nold\nb\n", "a\nNEW\nb\n", "x\na\nNEW\nb\ny\n", "x\na\nold\nb\ny\n", 0 },
                { "a\n", "a\nNEW\n", "a\nNEW\nmine\n", "a\nmine\n", 0 },
                { "a\n", "NEW\na\n", "mine\nNEW\na\n", "mine\na\n", 0 },
                { "F=\"--e=old --p=1\"\n", "F=\"--e=NEW --p=1\"\n", "F=\"--e=NEW --p=1 --q\"\n",
                  "F=\"--e=old --p=1 --q\"\n", 0 },
                { "a\nold\n", "a\nNEW\n", "a\nold\n", "a\nold\n", 0 },
                { "a\nold\n", "a\nNEW\n", "a\nother\n", "a\nother\n", 1 },
                { "a\nold\nb\n", "a\nb\n", "a\nold\nb\n", "a\nold\nb\n", 0 },
                { "a\nold\n", "a\nNEW\n", "", "", 1 },
                { "", "NEW\n", "NEW\n", "", 0 },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes before = bytes(cases[i].before), after = bytes(cases[i].after), mine = bytes(cases[i].mine);
                _cleanup_bytes_ Bytes result = BYTES_NULL;

                assert_int_equal(diff_undo(&before, &after, &mine, &result), cases[i].conflicts);
                assert_string_equal(result.p, cases[i].result);
        }
}

/* More differences than are looked for: the one text replaces the other, whole. */
static void test_far(void **state) {
        enum { N = 3000 };
        _cleanup_free_ char *a = malloc(4 * N + 1), *b = malloc(4 * N + 1);
        _cleanup_bytes_ Bytes result = BYTES_NULL;
        Bytes ba, bb;

        (void) state;
        assert_non_null(a);
        assert_non_null(b);
        for (size_t i = 0; i < N; i++) {
                (void) snprintf(a + 4 * i, 5, "%03zu\n", i % 1000);
                (void) snprintf(b + 4 * i, 5, "x%02zu\n", i % 100);
        }
        ba = bytes(a);
        bb = bytes(b);
        assert_int_equal(diff_undo(&ba, &bb, &bb, &result), 0);
        assert_true(bytes_equal(&result, &ba));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_print),
                cmocka_unit_test(test_undo),
                cmocka_unit_test(test_far),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
