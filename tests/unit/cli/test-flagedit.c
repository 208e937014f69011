#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "flagedit.h"

#define FLAG "--endpoint"

static const struct {
        const char *text;
        const char *values[3];
} cases[] = {
        { "A=\"--endpoint=unix:///a --x\"\n", { "unix:///a" } },
        { "ExecStart=/k --endpoint /a --endpoint '/b c'\n", { "/a", "/b c" } },
        { "/k --endpoint \\\n   /a \\\n", { "/a" } },
        { "/k --endpoint=\"/a\" -v", { "/a" } },
        { "A='--endpoint=/a'\n", { "/a" } },
        { "A=\"--endpoint=\"\n", { "" } },
        { "  # --endpoint=/a\n; --endpoint=/b\n--endpoint=/c", { "/c" } },
        { "--endpoints=/a x--endpoint=/b --endpoint-x=/c", {} },
        { "--endpoint\n--endpoint --other\n--endpoint", {} },
        { "A=--endpoint=/a", { "/a" } },
        { "", {} },
};

static void test_next(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *s = cases[i].text;
                FlagSpan span = {};

                for (size_t j = 0; j < ARRAY_SIZE(cases[i].values) && cases[i].values[j]; j++) {
                        assert_true(flagedit_next(s, strlen(s), FLAG, span.to, &span));
                        assert_int_equal(span.to - span.from, strlen(cases[i].values[j]));
                        assert_memory_equal(s + span.from, cases[i].values[j], span.to - span.from);
                }
                assert_false(flagedit_next(s, strlen(s), FLAG, span.to, &span));
        }
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 1; n <= strlen(cases[i].text); n++) {
                        _cleanup_free_ char *exact = malloc(n);
                        FlagSpan span = {};

                        assert_non_null(exact);
                        memcpy(exact, cases[i].text, n);
                        while (flagedit_next(exact, n, FLAG, span.to, &span))
                                assert_true(span.from <= span.to && span.to <= n);
                }
}

static void test_argv(void **state) {
        static const char argv[] = "/k\0--endpoint=/a\0--endpointx=/b\0--endpoint\0/c\0";
        char *value = NULL;

        (void) state;
        assert_int_equal(flagedit_argv(argv, sizeof(argv) - 1, FLAG, &value), 0);
        assert_string_equal(value, "/c");
        free(value);
        assert_int_equal(flagedit_argv(argv, 17, FLAG, &value), 0);
        assert_string_equal(value, "/a");
        free(value);
        assert_int_equal(flagedit_argv("--endpoint", 10, FLAG, &value), -ENOENT);
        assert_int_equal(flagedit_argv("", 0, FLAG, &value), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_next),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_argv),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
