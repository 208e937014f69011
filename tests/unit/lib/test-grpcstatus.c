#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "grpcstatus.h"

static void test_names(void **state) {
        (void) state;

        /* gRPC's numbers, which stand in spans and on the wire. */
        assert_int_equal(_GRPC_STATUS_MAX, 17);
        assert_string_equal(grpc_status_name(0), "OK");
        assert_string_equal(grpc_status_name(4), "DEADLINE_EXCEEDED");
        assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");

        for (int i = 0; i < _GRPC_STATUS_MAX; i++)
                assert_int_equal(grpc_status_of(grpc_status_name(i)), i);
}

static void test_unknown(void **state) {
        static const int numbers[] = { -1, 17, 999, INT32_MIN, INT32_MAX };
        static const char *const names[] = { "", "ok", "OK ", "_OTHER", "UNKNOWN", "UNAVAILABLE2" };

        (void) state;

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                assert_string_equal(grpc_status_name(numbers[i]), "UNKNOWN");
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_int_equal(grpc_status_of(names[i]), GRPC_UNKNOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
