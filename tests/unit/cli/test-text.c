#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "text.h"
#include "util.h"

static void test_utf8(void **state) {
        static const struct {
                const char *s;
                size_t len;
                int used;
                uint32_t cp;
        } cases[] = {
                { "a", 1, 1, 'a' },
                { "\0", 1, 1, 0 },
                { "\xc3\xb6", 2, 2, 0xf6 },
                { "\xe2\x82\xac", 3, 3, 0x20ac },
                { "\xf0\x9f\x98\x80", 4, 4, 0x1f600 },
                { "\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff },
                { "\xef\xbf\xbf", 3, 3, 0xffff },
                { "\x80", 1, -EBADMSG, 0 },     /* a continuation alone */
                { "\xc0\xaf", 2, -EBADMSG, 0 }, /* overlong */
                { "\xc1\xbf", 2, -EBADMSG, 0 },
                { "\xe0\x9f\xbf", 3, -EBADMSG, 0 },
                { "\xf0\x8f\xbf\xbf", 4, -EBADMSG, 0 },
                { "\xed\xa0\x80", 3, -EBADMSG, 0 },     /* a surrogate */
                { "\xf4\x90\x80\x80", 4, -EBADMSG, 0 }, /* above U+10FFFF */
                { "\xf5\x80\x80\x80", 4, -EBADMSG, 0 },
                { "\xff", 1, -EBADMSG, 0 },
                { "\xc3\x28", 2, -EBADMSG, 0 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint32_t cp = 0;

                assert_int_equal(text_utf8_next(cases[i].s, cases[i].len, &cp), cases[i].used);
                if (cases[i].used > 0)
                        assert_int_equal(cp, cases[i].cp);
                /* Cut at every byte, in a buffer of exactly that size. */
                for (size_t len = 1; cases[i].used > 0 && len < (size_t) cases[i].used; len++) {
                        char *exact = malloc(len);

                        memcpy(exact, cases[i].s, len);
                        assert_int_equal(text_utf8_next(exact, len, &cp), -EBADMSG);
                        free(exact);
                }
        }
}

static void test_safe(void **state) {
        static const struct {
                const char *s;
                const char *utf8;
                const char *ascii;
        } cases[] = {
                { "plain", "plain", "plain" },
                { "", "", "" },
                { "\033[31mred", "\\x1b[31mred", "\\x1b[31mred" },
                { "a\nb\tc\r", "a\\x0ab\\x09c\\x0d", "a\\x0ab\\x09c\\x0d" },
                { "\x7f", "\\x7f", "\\x7f" },
                { "\xc2\x9b"
                  "31m",
                  "\\u009b31m", "\\u009b31m" },
                { "\xe2\x80\xae"
                  "gnp",
                  "\\u202egnp", "\\u202egnp" },
                { "gr\xc3\xb6\xc3\x9f"
                  "e",
                  "gr\xc3\xb6\xc3\x9f"
                  "e",
                  "gr\\u00f6\\u00dfe" },
                { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\\U0001f600" },
                { "\xf3\xa0\x80\xa1", "\\U000e0021", "\\U000e0021" },
                { "bad\xff", "bad\\xff", "bad\\xff" },
        };
        char buf[64];

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].s);

                assert_int_equal(text_safe(buf, sizeof(buf), cases[i].s, len, true), strlen(cases[i].utf8));
                assert_string_equal(buf, cases[i].utf8);
                text_safe(buf, sizeof(buf), cases[i].s, len, false);
                assert_string_equal(buf, cases[i].ascii);

                /* Into every size: a prefix, ended, never with half an escape or sequence. */
                for (size_t size = 1; size <= strlen(cases[i].utf8); size++) {
                        char *exact = malloc(size);
                        size_t n = text_safe(exact, size, cases[i].s, len, true);

                        assert_true(n < size && exact[n] == '\0' && strlen(exact) == n);
                        assert_memory_equal(exact, cases[i].utf8, n);
                        assert_true(n == 0 || cases[i].utf8[n] == '\0' || util_utf8_valid(exact, n) ||
                                    !util_utf8_valid(cases[i].utf8, strlen(cases[i].utf8)));
                        free(exact);
                }
        }

        /* A NUL within is one of the controls. */
        text_safe(buf, sizeof(buf), "a\0b", 3, true);
        assert_string_equal(buf, "a\\x00b");
}

static void test_fit(void **state) {
        static const struct {
                const char *s;
                size_t columns;
                const char *utf8;
                const char *ascii;
        } cases[] = {
                { "container", 9, "container", "container" },
                { "container", 8, "contain…", "contain~" },
                { "container", 1, "…", "~" },
                { "container", 0, "", "" },
                { "", 0, "", "" },
                { "", 5, "", "" },
        };
        char buf[32];

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                text_fit(buf, sizeof(buf), cases[i].s, cases[i].columns, true);
                assert_string_equal(buf, cases[i].utf8);
                text_fit(buf, sizeof(buf), cases[i].s, cases[i].columns, false);
                assert_string_equal(buf, cases[i].ascii);
        }

        /* Wide characters are never cut in half. */
        if (text_width("漢") == 2) {
                text_fit(buf, sizeof(buf), "漢字漢字", 4, true);
                assert_string_equal(buf, "漢…");
                assert_true(text_width(buf) <= 4);
        }
        /* The buffer bounds, too. */
        for (size_t size = 1; size < 12; size++) {
                char *exact = malloc(size);

                text_fit(exact, size, "container", 100, true);
                assert_true(strlen(exact) < size);
                free(exact);
        }
}

static void test_fit_middle(void **state) {
        static const struct {
                const char *s;
                size_t columns;
                const char *utf8;
                const char *ascii;
        } cases[] = {
                { "web-7d9f8c6b5-x2k4j", 19, "web-7d9f8c6b5-x2k4j", "web-7d9f8c6b5-x2k4j" },
                { "web-7d9f8c6b5-x2k4j", 13, "web-…b5-x2k4j", "web-~b5-x2k4j" },
                { "web-7d9f8c6b5-x2k4j", 4, "w…4j", "w~4j" },
                { "web-7d9f8c6b5-x2k4j", 3, "we…", "we~" },
                { "web-7d9f8c6b5-x2k4j", 0, "", "" },
                { "", 4, "", "" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char out[64];

                text_fit_middle(out, sizeof(out), cases[i].s, cases[i].columns, true);
                assert_string_equal(out, cases[i].utf8);
                text_fit_middle(out, sizeof(out), cases[i].s, cases[i].columns, false);
                assert_string_equal(out, cases[i].ascii);
        }
        /* Buffers of every size. */
        for (size_t size = 1; size < 24; size++) {
                char *exact = malloc(size);

                text_fit_middle(exact, size,
                                "gr\xc3\xb6\xc3\x9f"
                                "enordnung-x2k4j",
                                12, true);
                assert_true(strlen(exact) < size);
                free(exact);
        }
}

static void test_duration(void **state) {
        static const struct {
                uint64_t ns;
                const char *text;
        } cases[] = {
                { 0, "0.000 ms" },
                { 42000, "0.042 ms" },
                { 999400, "0.999 ms" },
                { 999600, "1.00 ms" },
                { 3210000, "3.21 ms" },
                { 9996000, "10.0 ms" },
                { 62100000, "62.1 ms" },
                { 206 * NSEC_PER_MSEC, "206 ms" },
                { 999600000, "1.00 s" },
                { 1234 * NSEC_PER_MSEC, "1.23 s" },
                { 12345 * NSEC_PER_MSEC, "12.3 s" },
                { 123 * NSEC_PER_SEC, "2m 03s" },
                { 3599 * NSEC_PER_SEC, "59m 59s" },
                { 3600 * NSEC_PER_SEC, "1h 00m" },
                { 183600 * NSEC_PER_SEC, "2d 03h" },
                { UINT64_MAX, "213503d 23h" },
        };
        char buf[TEXT_DURATION_MAX];

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                text_duration(cases[i].ns, buf);
                assert_string_equal(buf, cases[i].text);
        }
}

static void test_size(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0 B" },
                { 1023, "1023 B" },
                { 1024, "1.0 KiB" },
                { 12595, "12.3 KiB" },
                { UINT64_C(512) << 20, "512 MiB" },
                { (UINT64_C(1) << 30) - 1, "1.0 GiB" },
                { UINT64_MAX, "16.0 EiB" },
        };
        char buf[TEXT_SIZE_MAX];

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                text_size(cases[i].bytes, buf);
                assert_string_equal(buf, cases[i].text);
        }
}

#define DAY (86400 * NSEC_PER_SEC)
#define NOW (UINT64_C(1763719200) * NSEC_PER_SEC) /* 2025-11-21 10:00:00 UTC, which is the zone here */

static void test_time(void **state) {
        char buf[TEXT_TIME_MAX];

        (void) state;

        text_time(NOW + 123456789, false, buf);
        assert_string_equal(buf, "2025-11-21 10:00:00.123");
        text_time(NOW, true, buf);
        assert_string_equal(buf, "2025-11-21 10:00:00.000 +0000");
        text_rfc3339(NOW + 123456789, buf);
        assert_string_equal(buf, "2025-11-21T10:00:00.123456789Z");
        text_rfc3339(UINT64_MAX, buf);
        assert_string_equal(buf, "2554-07-21T23:34:33.709551615Z");
}

static void test_parse_time(void **state) {
        static const struct {
                const char *s;
                uint64_t ns;
        } good[] = {
                { "now", NOW },
                { "1h", NOW - 3600 * NSEC_PER_SEC },
                { "1h30m", NOW - 5400 * NSEC_PER_SEC },
                { "0", NOW },
                { "today", NOW - 36000 * NSEC_PER_SEC },
                { "yesterday", NOW - 36000 * NSEC_PER_SEC - DAY },
                { "@1763719200", NOW },
                { "@0", 0 },
                { "2025-11-21 10:00", NOW },
                { "2025-11-21T10:00:01", NOW + NSEC_PER_SEC },
                { "2025-11-21 10:00:00Z", NOW },
                { "2025-11-21", NOW - 36000 * NSEC_PER_SEC },
                { "500000h", NOW - 500000 * UINT64_C(3600) * NSEC_PER_SEC > NOW
                                     ? 0
                                     : NOW - 500000 * UINT64_C(3600) * NSEC_PER_SEC },
        };
        static const char *const bad[] = { "",
                                           "1",
                                           "-1h",
                                           "whenever",
                                           "@",
                                           "@-1",
                                           "@18446744073709551615",
                                           "2025-13-01",
                                           "2025-11-21 25:00",
                                           "2025-11-21 10:00 x",
                                           "1969-01-01" };
        uint64_t ns;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                assert_int_equal(text_parse_time(good[i].s, NOW, &ns), 0);
                assert_int_equal(ns, good[i].ns);
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                ns = 77;
                assert_int_equal(text_parse_time(bad[i], NOW, &ns), -EINVAL);
                assert_int_equal(ns, 77);
        }
}

static void test_span_name(void **state) {
        static const char *const cases[][2] = {
                { "runtime.v1.RuntimeService/RunPodSandbox", "RunPodSandbox" },
                { "/runtime.v1.ImageService/PullImage", "PullImage" },
                { "runtime.v1.RuntimeService/", "runtime.v1.RuntimeService/" },
                { "github.com/cri-o/cri-o/server.(*Server).runPodSandbox", "server.(*Server).runPodSandbox" },
                { "github.com/", "github.com/" },
                { "containerd.task.v2.Task/Create", "containerd.task.v2.Task/Create" },
                { "HTTP GET /v2/x", "HTTP GET /v2/x" },
                { "", "" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(text_span_name(cases[i][0]), cases[i][1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_utf8),       cmocka_unit_test(test_safe),       cmocka_unit_test(test_fit),
                cmocka_unit_test(test_fit_middle), cmocka_unit_test(test_duration),   cmocka_unit_test(test_size),
                cmocka_unit_test(test_time),       cmocka_unit_test(test_parse_time), cmocka_unit_test(test_span_name),
        };

        (void) setenv("TZ", "UTC", 1);
        (void) setlocale(LC_ALL, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
