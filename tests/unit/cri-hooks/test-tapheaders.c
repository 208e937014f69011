#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tapheaders.h"
#include "util.h"

#define PATH "/runtime.v1.RuntimeService/RunPodSandbox"
#define T10  "abcd=67890"

static void field(TapHeaders *h, const char *name, const char *value) {
        _cleanup_free_ char *exact = malloc(strlen(value) + 1);

        /* No NUL behind it, so that ASan sees who reads on. */
        memcpy(exact, value, strlen(value));
        exact = realloc(exact, MAX(strlen(value), (size_t) 1));
        tapheaders_field(h, name, strlen(name), exact, strlen(value));
}

static void request(void **state) {
        TapHeaders h;

        (void) state;

        tapheaders_clear(&h);
        field(&h, ":method", "POST");
        field(&h, ":path", PATH);
        field(&h, "grpc-timeout", "5S");
        field(&h, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        field(&h, "tracestate", "a=1");
        field(&h, "tracestate", "");
        field(&h, "tracestate", "b=2");
        field(&h, "grpc-message", "not in a request");
        assert_string_equal(h.path, PATH);
        assert_non_null(h.method);
        assert_true(h.has_timeout);
        assert_int_equal(h.timeout_ns, 5 * NSEC_PER_SEC);
        assert_true(h.traceparent_valid);
        assert_string_equal(h.tracestate, "a=1,b=2");

        field(&h, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_int_equal(h.n_traceparent, 2);
        assert_false(h.traceparent_valid);

        tapheaders_clear(&h);
        assert_string_equal(h.path, "");
        assert_string_equal(h.tracestate, "");
        assert_int_equal(h.grpc_status, -1);
}

static void reply(void **state) {
        TapHeaders h;

        (void) state;

        tapheaders_clear(&h);
        field(&h, ":status", "200");
        field(&h, "grpc-status", "13");
        field(&h, "grpc-message", "no%20such");
        field(&h, "tracestate", "a=1");
        assert_int_equal(h.http_status, 200);
        assert_int_equal(h.grpc_status, 13);
        assert_string_equal(h.message, "no such");
}

/* What is longer than its bound is as good as absent, however it is cut into fields. */
static void long_tracestate(void **state) {
        char text[TAPHEADERS_TRACESTATE_MAX + 2];
        TapHeaders h;

        (void) state;

        memset(text, 'x', sizeof(text));
        text[TAPHEADERS_TRACESTATE_MAX] = '\0';
        tapheaders_clear(&h);
        field(&h, ":path", PATH);
        field(&h, "tracestate", text);
        assert_string_equal(h.tracestate, text);
        field(&h, "tracestate", "b=2");
        assert_string_equal(h.tracestate, "");
        field(&h, "tracestate", "b=2");
        assert_string_equal(h.tracestate, "");

        text[TAPHEADERS_TRACESTATE_MAX] = 'x';
        text[TAPHEADERS_TRACESTATE_MAX + 1] = '\0';
        tapheaders_clear(&h);
        field(&h, ":path", PATH);
        field(&h, "tracestate", text);
        assert_string_equal(h.tracestate, "");

        tapheaders_clear(&h);
        field(&h, ":path", PATH);
        for (unsigned i = 0; i < TAPHEADERS_TRACESTATE_MAX / (strlen(T10) + 1); i++)
                field(&h, "tracestate", T10);
        assert_int_equal(strlen(h.tracestate), 46 * 11 - 1);
        field(&h, "tracestate", T10);
        assert_string_equal(h.tracestate, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(request),
                cmocka_unit_test(reply),
                cmocka_unit_test(long_tracestate),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
