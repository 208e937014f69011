#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "tomledit.h"

#define SEP TOMLEDIT_SEP

static const char text[] = "# c\n"
                           "version = 2 # two\n"
                           "imports = [\n  'a', # ]\n  \"b]\"\n]\n"
                           "s = \"\"\"\n[not.a.table]\nx = 1\"\"\"\n"
                           "[a.\"b.c\".d]\n  k = 'v'\n  a.b = { x = 1, y = [ \"}\" ] }\n"
                           "[[list]]\n  n = 1\n"
                           "[a.\"b.c\".d.e]\n";

static void test_get(void **state) {
        static const struct {
                const char *path;
                const char *value;
        } cases[] = {
                { "version", "2" },
                { "a" SEP "b.c" SEP "d" SEP "k", "v" },
                { "a" SEP "b.c" SEP "d" SEP "a" SEP "b", "{ x = 1, y = [ \"}\" ] }" },
                { "list[]" SEP "n", "1" },
                { "x", NULL },
                { "not" SEP "a" SEP "table" SEP "x", NULL },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char *value = NULL;

                assert_int_equal(tomledit_get(text, strlen(text), cases[i].path, &value), cases[i].value ? 0 : -ENOENT);
                if (cases[i].value)
                        assert_string_equal(value, cases[i].value);
                free(value);
        }
}

static void test_set(void **state) {
        static const struct {
                const char *before, *table, *header, *key, *after;
        } cases[] = {
                { "a = 1\nb = 2 # c\n", "", "", "b", "a = 1\nb = NEW # c\n" },
                { "a = 1\n", "", "", "b", "b = NEW\na = 1\n" },
                { "[t]\n  a = 1\n", "t", "t", "b", "[t]\n  b = NEW\n  a = 1\n" },
                { "  [t.u]", "t" SEP "u", "t.u", "b", "  [t.u]\n    b = NEW\n" },
                { "a = 1", "t", "t", "b", "a = 1\n\n[t]\n  b = NEW\n" },
                { "[t]\nb = ''\n", "t", "t", "b", "[t]\nb = NEW\n" },
                { "", "t", "t", "b", "\n[t]\n  b = NEW\n" },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_bytes_ Bytes out = BYTES_NULL;

                assert_int_equal(tomledit_set(cases[i].before, strlen(cases[i].before), cases[i].table, cases[i].header,
                                              cases[i].key, "NEW", &out),
                                 0);
                assert_string_equal(out.p, cases[i].after);
        }
}

static void test_add(void **state) {
        static const struct {
                const char *before, *after;
        } cases[] = {
                { "i = []\n", "i = [\"N\"]\n" },           { "i = [ # none\n]\n", "i = [\"N\" # none\n]\n" },
                { "i = ['a',]\n", "i = [\"N\", 'a',]\n" }, { "i = [\n 'a' # x\n]\n", "i = [\"N\", \n 'a' # x\n]\n" },
                { "# c\n", "i = [\"N\"]\n# c\n" },
        };
        _cleanup_bytes_ Bytes none = BYTES_NULL;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_bytes_ Bytes out = BYTES_NULL;

                assert_int_equal(tomledit_add(cases[i].before, strlen(cases[i].before), "i", "N", &out), 0);
                assert_string_equal(out.p, cases[i].after);
        }
        assert_int_equal(tomledit_add("i = 1\n", 6, "i", "N", &none), -EBADMSG);
}

static int count(const TomlItem *item, void *userdata) {
        (void) item;
        ++*(size_t *) userdata;
        return 0;
}

static void test_bad(void **state) {
        static const char *const cases[] = {
                "a",         "a =",         "a = \n",      "= 1",      "[",     "[a",
                "[a]b",      "[[a]",        "a = [1",      "a = {",    "a = ]", "a = \"x",
                "a = 'x\n'", "a = \"\"\"x", "a = \"x\" y", "a..b = 1", "[a.]",  "\"\"\"a\"\"\" = 1",
        };
        size_t n = 0;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(tomledit_walk(cases[i], strlen(cases[i]), count, &n), -EBADMSG);
        assert_int_equal(tomledit_walk("a = 1\0", 6, count, &n), -EBADMSG);
        assert_int_equal(tomledit_walk("", 0, count, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(tomledit_walk(text, strlen(text), count, &n), 0);
        assert_int_equal(n, 9);
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t n = 1; n <= strlen(text); n++) {
                _cleanup_free_ char *exact = malloc(n);
                size_t items = 0;

                assert_non_null(exact);
                memcpy(exact, text, n);
                (void) tomledit_walk(exact, n, count, &items);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_get), cmocka_unit_test(test_set),       cmocka_unit_test(test_add),
                cmocka_unit_test(test_bad), cmocka_unit_test(test_truncated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
