#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "cri.pb-c.h"
#include "criclient.h"
#include "grpcstatus.h"

static void test_codes(void **state) {
        (void) state;

        assert_string_equal(grpc_status_name(0), "OK");
        assert_string_equal(grpc_status_name(4), "DEADLINE_EXCEEDED");
        assert_string_equal(grpc_status_name(14), "UNAVAILABLE");
        assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");
        assert_string_equal(grpc_status_name(17), "UNKNOWN");
        assert_string_equal(grpc_status_name(-1), "UNKNOWN");
}

static void test_endpoints(void **state) {
        static const char *const bad[] = { "", "localhost:1", "tcp://1.2.3.4:5", "http://x", "run/crio.sock" };
        CriClient *client = NULL;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(criclient_new(bad[i], &client), -EINVAL);
        assert_null(client);
        assert_int_equal(criclient_new("unix:///nowhere/x.sock", &client), 0);
        assert_null(criclient_free(client));
}

static int version(CriClient *client, CriStatus *ret) {
        Podspan__Cri__VersionRequest request = PODSPAN__CRI__VERSION_REQUEST__INIT;
        ProtobufCMessage *message = NULL;

        return criclient_call(client, "runtime.v1.RuntimeService/Version", NULL, NSEC_PER_SEC, &request.base,
                              &podspan__cri__version_response__descriptor, &message, ret);
}

static void test_nobody_there(void **state) {
        _cleanup_(criclient_freep) CriClient *client = NULL;
        CriStatus status;

        (void) state;

        assert_int_equal(criclient_new("/nowhere/x.sock", &client), 0);
        assert_int_equal(version(client, &status), -EREMOTEIO);
        assert_string_equal(grpc_status_name(status.code), "UNAVAILABLE");
        assert_true(strlen(status.message) > 0);

        /* Cancelled before it began, and then no more. */
        criclient_cancel(client);
        assert_int_equal(version(client, &status), -EREMOTEIO);
        assert_string_equal(grpc_status_name(status.code), "CANCELLED");
        criclient_resume(client);
        assert_int_equal(version(client, &status), -EREMOTEIO);
        assert_string_equal(grpc_status_name(status.code), "UNAVAILABLE");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_codes),
                cmocka_unit_test(test_endpoints),
                cmocka_unit_test(test_nobody_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
