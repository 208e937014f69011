#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <yajl/yajl_tree.h>
#include "json.h"

/* What the calls in @fn print. */
static char *print(void (*fn)(Json *json)) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        Json *json = json_new(out);

        assert_non_null(json);
        fn(json);
        assert_int_equal(json_finish(json), 0);
        assert_null(json_free(json));
        assert_int_equal(fclose(out), 0);
        return text;
}

static void print_strings(Json *json) {
        json_array(json);
        json_str(json, "plain \"quoted\" back\\slash / gr\xc3\xb6\xc3\x9f");
        json_strn(json, "nul\0in", 6);
        json_str(json, "\033[31m\n\x7f\xc2\x9b\xe2\x80\xae");
        json_str(json, "bad\xff\xc3");
        json_str(json, "\xf3\xa0\x80\xa1");
        json_str(json, NULL);
        json_str(json, "");
        json_array_end(json);
}

static void test_strings(void **state) {
        _cleanup_free_ char *text = print(print_strings);

        (void) state;

        assert_string_equal(text, "[\n"
                                  "  \"plain \\\"quoted\\\" back\\\\slash / gr\xc3\xb6\xc3\x9f\",\n"
                                  "  \"nul\\u0000in\",\n"
                                  "  \"\\u001b[31m\\u000a\\u007f\\u009b\\u202e\",\n"
                                  "  \"bad\\ufffd\\ufffd\",\n"
                                  "  \"\\udb40\\udc21\",\n"
                                  "  null,\n"
                                  "  \"\"\n"
                                  "]\n\n");
}

static void print_numbers(Json *json) {
        json_map(json);
        json_pair_u64(json, "max", UINT64_MAX);
        json_key(json, "max_str");
        json_u64_str(json, UINT64_MAX);
        json_key(json, "min");
        json_i64(json, INT64_MIN);
        json_key(json, "min_str");
        json_i64_str(json, INT64_MIN);
        json_key(json, "double");
        json_double(json, 1.5);
        json_key(json, "nan");
        json_double(json, NAN);
        json_key(json, "inf");
        json_double(json, -INFINITY);
        json_key(json, "hex");
        json_hex(json, "\x00\xab\xff", 3);
        json_time(json, "t", 1763719200123456789);
        json_time(json, "never", 0);
        json_pair_known(json, "left out", "");
        json_pair_known(json, "left out", NULL);
        json_pair_bool(json, "yes", true);
        json_map_end(json);
}

static void test_numbers(void **state) {
        static const char *const lines[] = {
                "\"max\": 18446744073709551615,",
                "\"max_str\": \"18446744073709551615\",",
                "\"min\": -9223372036854775808,",
                "\"min_str\": \"-9223372036854775808\",",
                "\"double\": 1.5,",
                "\"nan\": \"NaN\",",
                "\"inf\": \"-Infinity\",",
                "\"hex\": \"00abff\",",
                "\"t\": \"2025-11-21T10:00:00.123456789Z\",",
                "\"t_unix_nano\": \"1763719200123456789\",",
                "\"never\": null,",
                "\"never_unix_nano\": null,",
                "\"yes\": true\n",
        };
        _cleanup_free_ char *text = print(print_numbers);
        const char *at = text;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                at = strstr(at, lines[i]);
                assert_non_null(at);
        }
        assert_null(strstr(text, "left out"));
}

static void print_base64(Json *json) {
        json_array(json);
        for (size_t n = 0; n <= 6; n++)
                json_base64(json, "foobar", n);
        json_base64(json, "\xff\xef\xbe", 3);
        json_array_end(json);
}

static void test_base64(void **state) {
        /* RFC 4648, section 10 */
        static const char expected[] =
                "[\n  \"\",\n  \"Zg==\",\n  \"Zm8=\",\n  \"Zm9v\",\n  \"Zm9vYg==\",\n  \"Zm9vYmE=\",\n"
                "  \"Zm9vYmFy\",\n  \"/+++\"\n]\n\n";
        _cleanup_free_ char *text = print(print_base64);

        (void) state;

        assert_string_equal(text, expected);
}

/* Every byte string of up to two bytes, and long ones, give JSON that a strict parser reads. */
static void test_any_bytes(void **state) {
        (void) state;

        for (unsigned i = 0; i < 0x10000; i++) {
                char bytes[] = { (char) (i >> 8), (char) i }, *text = NULL;
                size_t size = 0;
                FILE *out = open_memstream(&text, &size);
                Json *json = json_new(out);
                yajl_val tree;

                json_array(json);
                json_strn(json, bytes, sizeof(bytes));
                json_array_end(json);
                assert_int_equal(json_finish(json), 0);
                json_free(json);
                (void) fclose(out);
                tree = yajl_tree_parse(text, NULL, 0);
                assert_non_null(tree);
                yajl_tree_free(tree);
                free(text);
        }
}

static void test_long_string(void **state) {
        size_t len = 1 << 20, size = 0;
        _cleanup_free_ char *s = malloc(len), *text = NULL;
        FILE *out = open_memstream(&text, &size);
        Json *json = json_new(out);

        (void) state;

        memset(s, 0xff, len);
        json_strn(json, s, len);
        assert_int_equal(json_finish(json), 0);
        json_free(json);
        (void) fclose(out);
        assert_true(size > 6 * len);
}

static void test_errors_stick(void **state) {
        FILE *out = fopen("/dev/full", "w");
        Json *json;

        (void) state;

        assert_non_null(out);
        (void) setvbuf(out, NULL, _IONBF, 0);
        json = json_new(out);
        json_array(json);
        json_array_end(json);
        assert_int_equal(json_finish(json), -ENOSPC);
        json_free(json);
        (void) fclose(out);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_strings),     cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_base64),      cmocka_unit_test(test_any_bytes),
                cmocka_unit_test(test_long_string), cmocka_unit_test(test_errors_stick),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
