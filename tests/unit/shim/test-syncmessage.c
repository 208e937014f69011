#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "../exact.h"
#include "syncmessage.h"
#include "util.h"

static const struct {
        const char *key;
        int number;
        const char *text;
        size_t len;
        const char *out;
} messages[] = {
        { "pid", 4711, NULL, 0, "{\"pid\": 4711}\n" },
        { "data", 0, "", 0, "{\"data\": 0}\n" },
        { "exit_code", -1, "command timed out", 17, "{\"exit_code\": -1, \"message\": \"command timed out\"}\n" },
        { "pid", -1, "a\"b\\c/d\ne\rf\tg\bh\fi", 17,
          "{\"pid\": -1, \"message\": \"a\\\"b\\\\c\\/d\\ne\\rf\\tg\\bh\\fi\"}\n" },
        { "pid", -2147483647 - 1, "\x01\x1f\x7f\0x", 5,
          "{\"pid\": -2147483648, \"message\": \"\\u0001\\u001f\\u007f\\u0000x\"}\n" },
        { "data", -1, "na\xc3\xafve \xff", 8, "{\"data\": -1, \"message\": \"na\xc3\xafve \xff\"}\n" },
};

static void test_messages(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                _cleanup_free_ char *text = messages[i].text ? exact(messages[i].text, messages[i].len) : NULL;
                _cleanup_free_ char *out = NULL;
                size_t len;

                assert_int_equal(
                        syncmessage_format(messages[i].key, messages[i].number, text, messages[i].len, &out, &len), 0);
                assert_int_equal(len, strlen(messages[i].out));
                assert_memory_equal(out, messages[i].out, len);
        }
}

/* Every byte becomes at most six. */
static void test_longest(_unused_ void **userdata) {
        static char text[8191];
        _cleanup_free_ char *out = NULL;
        size_t len;

        memset(text, '\x01', sizeof(text));
        assert_int_equal(syncmessage_format("exit_code", -1, text, sizeof(text), &out, &len), 0);
        assert_int_equal(len, strlen("{\"exit_code\": -1, \"message\": \"\"}\n") + 6 * sizeof(text));
        assert_int_equal(out[len - 1], '\n');
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_longest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
