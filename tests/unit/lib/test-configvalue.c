#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "configvalue.h"
#include "util.h"

/* One row a form, for podspan's own configuration and for what `podspan doctor` reads in others'. */
static const struct {
        const char *s;
        const char *host; /* NULL: refused */
        unsigned port;
        bool given;
        bool tls_secure, tls_insecure; /* without and with tracing_insecure */
} forms[] = {
        { "localhost:4317", "localhost", 4317, true, true, false },
        { "localhost:4317/", "localhost", 4317, true, true, false },
        { "localhost", "localhost", 4317, false, true, false },
        { "10.0.0.1:1", "10.0.0.1", 1, true, true, false },
        { "[::1]:99", "::1", 99, true, true, false },
        { "[::1]", "::1", 4317, false, true, false },
        { "http://a:1", "a", 1, true, false, false },
        { "http://a/", "a", 80, false, false, false },
        { "HTTP://a:1", "a", 1, true, false, false },
        { "http://[fe80::1%eth0]", "fe80::1%eth0", 80, false, false, false },
        { "https://a:65535", "a", 65535, true, true, true },
        { "https://a:65535/", "a", 65535, true, true, true },
        { "HTTPS://a", "a", 443, false, true, true },
        { "HttpS://a:1", "a", 1, true, true, true },
        { "dns:///a:1", "a", 1, true, true, false },
        { "DNS:///a", "a", 4317, false, true, false },
        { "dns:///[::1]:1", "::1", 1, true, true, false },
        { "dns:4317", "dns", 4317, true, true, false }, /* a host that is called so */
        { "", NULL },
        { ":4317", NULL },
        { "a:", NULL },
        { "a:0", NULL },
        { "a:65536", NULL },
        { "a:1x", NULL },
        { "a:+1", NULL },
        { "::1:4317", NULL },
        { "[::1", NULL },
        { "[::1]4317", NULL },
        { "[::1]:", NULL },
        { "[]", NULL },
        { "[]:1", NULL },
        { "a b:1", NULL },
        { "user@a:1", NULL },
        { "http://", NULL },
        { "https://:1", NULL },
        { "http://a:1?x", NULL },
        { "http://a:1//", NULL },
        { "http://a:4318/v1/traces", NULL },
        { "a:4318/v1/traces", NULL },
        { "http://https://a:1", NULL },
        { "grpc://a:1", NULL },
        { "dns://8.8.8.8/a:1", NULL },
        { "dns:///", NULL },
        { "ipv4:1.2.3.4:1", NULL },
        { "unix:", NULL },
        { "unix:relative", NULL },
        { "unix://host/path", NULL },
        { "unix-abstract:x", NULL },
};

static void test_endpoint(void **state) {
        (void) state;

        for (size_t i = 0; i < 2 * ARRAY_SIZE(forms); i++) {
                size_t size = strlen(forms[i / 2].s) + 1;
                char *exact = malloc(size);
                ConfigEndpoint endpoint;
                const char *reason = NULL;
                bool insecure = i % 2 != 0;
                int r;

                assert_non_null(exact);
                memcpy(exact, forms[i / 2].s, size);
                r = configvalue_endpoint(exact, insecure, &endpoint, &reason);
                free(exact);
                if (r != (forms[i / 2].host ? 0 : -EINVAL))
                        fail_msg("\"%s\": %d", forms[i / 2].s, r);
                if (r < 0) {
                        assert_non_null(reason);
                        continue;
                }
                assert_false(endpoint.local);
                assert_string_equal(endpoint.host, forms[i / 2].host);
                if (endpoint.port != forms[i / 2].port || endpoint.port_given != forms[i / 2].given ||
                    endpoint.tls != (insecure ? forms[i / 2].tls_insecure : forms[i / 2].tls_secure))
                        fail_msg("\"%s\": port %u%s, TLS %d", forms[i / 2].s, endpoint.port,
                                 endpoint.port_given ? "" : " (default)", endpoint.tls);
        }
}

static void test_endpoint_unix(void **state) {
        static const char *const same[] = { "unix:/run/x.sock", "unix:///run/x.sock", "UNIX:/run/x.sock" };
        char path[130] = "unix:/";
        ConfigEndpoint endpoint;
        const char *reason;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
                assert_int_equal(configvalue_endpoint(same[i], false, &endpoint, &reason), 0);
                assert_true(endpoint.local);
                assert_false(endpoint.tls);
                assert_string_equal(endpoint.path, "/run/x.sock");
        }

        memset(path + 6, 'p', 106);
        assert_int_equal(configvalue_endpoint(path, false, &endpoint, &reason), 0);
        path[112] = 'p';
        assert_int_equal(configvalue_endpoint(path, false, &endpoint, &reason), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_endpoint),
                cmocka_unit_test(test_endpoint_unix),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
