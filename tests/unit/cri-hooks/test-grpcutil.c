#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include "grpcutil.h"
#include "util.h"

static void timeouts(void **state) {
        static const struct {
                const char *in;
                int r;
                uint64_t ns;
        } cases[] = {
                { "1n", 0, 1 },
                { "5u", 0, 5000 },
                { "99999999m", 0, UINT64_C(99999999000000) },
                { "240S", 0, 240 * NSEC_PER_SEC },
                { "2M", 0, 120 * NSEC_PER_SEC },
                { "1H", 0, 3600 * NSEC_PER_SEC },
                { "99999999H", 0, UINT64_MAX },
                { "0S", 0, 0 },
                { "", -EBADMSG, 0 },
                { "S", -EBADMSG, 0 },
                { "1", -EBADMSG, 0 },
                { "1s", -EBADMSG, 0 },
                { "-1S", -EBADMSG, 0 },
                { "1.5S", -EBADMSG, 0 },
                { "123456789S", -EBADMSG, 0 },
                { " 1S", -EBADMSG, 0 },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].in);
                _cleanup_free_ char *exact = malloc(len ? len : 1);
                uint64_t ns = 42;

                assert_non_null(exact);
                memcpy(exact, cases[i].in, len);
                if (grpc_timeout_parse(exact, len, &ns) != cases[i].r || ns != (cases[i].r < 0 ? 42 : cases[i].ns))
                        fail_msg("%s: %llu", cases[i].in, (unsigned long long) ns);
        }
}

static void messages(void **state) {
        static const struct {
                const char *in;
                size_t size;
                const char *out;
        } cases[] = {
                { "plain", 64, "plain" },
                { "a%20b", 64, "a b" },
                { "%C3%a9", 64, "\xc3\xa9" },
                { "100%", 64, "100%" },
                { "%2", 64, "%2" },
                { "%zz", 64, "%zz" },
                { "%%41", 64, "%A" },
                { "", 64, "" },
                { "abcdef", 4, "abc" },
                { "ab%C3%A9", 4, "ab" },
                { "a%C3%A9", 4, "a\xc3\xa9" },
                { "%F0%9F%98%80x", 5, "\xf0\x9f\x98\x80" },
                { "x%F0%9F%98%80", 5, "x" },
                { "abc", 1, "" },
        };
        char out[64];

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = grpc_message_decode(cases[i].in, strlen(cases[i].in), out, cases[i].size);

                assert_string_equal(out, cases[i].out);
                assert_int_equal(n, strlen(cases[i].out));
        }
}

static void statuses(void **state) {
        (void) state;
        assert_string_equal(grpc_status_name(0), "OK");
        assert_string_equal(grpc_status_name(14), "UNAVAILABLE");
        assert_string_equal(grpc_status_name(17), "UNKNOWN");
        assert_string_equal(grpc_status_name(-1), "UNKNOWN");
        assert_int_equal(grpc_status_parse("5", 1), GRPC_NOT_FOUND);
        assert_int_equal(grpc_status_parse("", 0), GRPC_UNKNOWN);
        assert_int_equal(grpc_status_parse("x", 1), GRPC_UNKNOWN);
        assert_int_equal(grpc_status_parse("99999", 5), GRPC_UNKNOWN);

        /* OpenTelemetry: these six are errors of a server, the others are what it was asked for. */
        for (int i = 0; i < _GRPC_STATUS_MAX; i++)
                assert_int_equal(grpc_status_server_error(i),
                                 i == 2 || i == 4 || i == 12 || i == 13 || i == 14 || i == 15);
        assert_int_equal(grpc_status_from_http(503), GRPC_UNAVAILABLE);
        assert_int_equal(grpc_status_from_http(418), GRPC_UNKNOWN);
        assert_int_equal(grpc_status_from_h2(8), GRPC_CANCELLED);
        assert_int_equal(grpc_status_from_h2(7), GRPC_UNAVAILABLE);
        assert_int_equal(grpc_status_from_h2(0), GRPC_INTERNAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(timeouts),
                cmocka_unit_test(messages),
                cmocka_unit_test(statuses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
