#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "../exact.h"
#include "runtimelog.h"
#include "util.h"

static const struct {
        const char *in;
        const char *out;
} logs[] = {
        { "{\"msg\":\"no such file\",\"level\":\"error\",\"time\":\"t\"}\n", "no such file" },
        { "{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"first\"}\n"
          "{\"level\":\"fatal\",\"msg\":\"last\"}\n{\"level\":\"debug\",\"msg\":\"after\"}\n",
          "last" },
        { "half a line\n{\"level\":\"error\",\"msg\":\"whole \\\"x\\\"\"}", "whole \"x\"" },
        { "{\"level\":\"warning\",\"msg\":\"only\"}\n", "" },
        { "{\"level\":\"error\"}\n", "" },
        { "{\"level\":\"error\",\"msg\":5}\n", "" },
        { "runc create failed: no\n\n", "runc create failed: no" },
        { "one\ntwo  \r\n", "two" },
        { "{broken\n", "{broken" },
        { "\n \n", "" },
        { "", "" },
};

static void test_logs(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
                size_t len = strlen(logs[i].in), n;
                _cleanup_free_ char *in = exact(logs[i].in, len);
                char message[RUNTIMELOG_TEXT_MAX + 1] = "";

                n = runtimelog_message(in, len, message);
                if (n != strlen(logs[i].out) || (n > 0 && strcmp(message, logs[i].out) != 0))
                        fail_msg("%zu: %zu, %s", i, n, message);
        }
}

static void test_bounds(_unused_ void **userdata) {
        _cleanup_free_ char *in = malloc(4 * RUNTIMELOG_MAX);
        char message[RUNTIMELOG_TEXT_MAX + 1];

        assert_non_null(in);
        memset(in, 'x', 4 * RUNTIMELOG_MAX);
        assert_int_equal(runtimelog_message(in, 4 * RUNTIMELOG_MAX, message), RUNTIMELOG_TEXT_MAX);

        /* A record longer than a line may be is text. */
        in[0] = '{';
        assert_int_equal(runtimelog_message(in, RUNTIMELOG_LINE_MAX + 1, message), RUNTIMELOG_TEXT_MAX);

        /* Nesting is the parser's to bear. */
        memset(in, '[', RUNTIMELOG_LINE_MAX);
        memcpy(in, "{\"a\":", 5);
        assert_true(runtimelog_message(in, RUNTIMELOG_LINE_MAX, message) > 0);
}

static void test_truncated(_unused_ void **userdata) {
        const char *in = logs[1].in;

        for (size_t len = 0; len <= strlen(in); len++) {
                _cleanup_free_ char *part = exact(in, len);
                char message[RUNTIMELOG_TEXT_MAX + 1];

                (void) runtimelog_message(part, len, message);
        }
}

static void test_path(_unused_ void **userdata) {
        static const char *const apart[] = { "--log-format=json", "--log", "/f", "--root", "/r" };
        static const char *const joined[] = { "--root=/r", "--log=/f" };
        static const char *const none[] = { "--log-format=json", "--root", "/r" };
        static const char *const last[] = { "--log" };

        assert_string_equal(runtimelog_path(apart, ARRAY_SIZE(apart)), "/f");
        assert_string_equal(runtimelog_path(joined, ARRAY_SIZE(joined)), "/f");
        assert_null(runtimelog_path(none, ARRAY_SIZE(none)));
        assert_null(runtimelog_path(last, ARRAY_SIZE(last)));
        assert_null(runtimelog_path(NULL, 0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_logs),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_path),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
