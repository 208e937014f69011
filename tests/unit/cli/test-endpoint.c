#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "endpoint.h"
#include "kube.h"
#include "netunix.h"
#include "util.h"

static void test_parse(void **state) {
        static const struct {
                const char *s, *host, *port; /* host NULL: wrong */
        } cases[] = {
                { "localhost:4317", "localhost", "4317" },
                { "http://10.0.0.1:4317", "10.0.0.1", "4317" },
                { "https://c.example:4317/", "c.example", "4317" },
                { "[::1]:4317", "::1", "4317" },
                { "unix:/run/x", "/run/x", "" },
                { "unix:///run/x", "/run/x", "" },
                { "localhost", NULL, NULL },
                { ":4317", NULL, NULL },
                { "a:0", NULL, NULL },
                { "a:65536", NULL, NULL },
                { "[::1", NULL, NULL },
                { "[::1]", NULL, NULL },
                { "[]", NULL, NULL },
                { "unix:", NULL, NULL },
                { "", NULL, NULL },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Endpoint endpoint;

                assert_int_equal(endpoint_parse(cases[i].s, &endpoint), cases[i].host ? 0 : -EINVAL);
                if (!cases[i].host)
                        continue;
                assert_string_equal(endpoint.host, cases[i].host);
                assert_string_equal(endpoint.port, cases[i].port);
        }
}

static void test_recognize(void **state) {
        static const struct {
                const char *bytes;
                size_t n;
                EndpointPeer peer;
        } cases[] = {
#define B(s) s, sizeof(s) - 1
                { B("\0\0\0\4\0\0\0\0\0"), ENDPOINT_HTTP2 },
                { B("\0\0\x12\4\0\0\0\0\0\0\3"), ENDPOINT_HTTP2 },
                { B("\0\0\0\4\0\0\0\0"), ENDPOINT_OTHER },   /* cut */
                { B("\0\0\0\4\0\0\0\0\1"), ENDPOINT_OTHER }, /* SETTINGS of a stream */
                { B("\0\0\x08\6\0\0\0\0\0"), ENDPOINT_OTHER },
                { B("HTTP/1.1 400 Bad Request"), ENDPOINT_HTTP1 },
                { B("HTTP"), ENDPOINT_OTHER },
                { B("\x15\3\1\0\2\2\x46"), ENDPOINT_TLS },
                { B("\x15\3"), ENDPOINT_OTHER },
                { B("SSH-2.0-x"), ENDPOINT_OTHER },
                { B("\0"), ENDPOINT_OTHER },
#undef B
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint8_t *exact = malloc(cases[i].n);

                assert_non_null(exact);
                memcpy(exact, cases[i].bytes, cases[i].n);
                if (endpoint_recognize(exact, cases[i].n) != cases[i].peer)
                        fail_msg("case %zu", i);
                free(exact);
        }
}

static void test_netunix(void **state) {
        static const char text[] = "Num       RefCount Protocol Flags    Type St Inode Path\n"
                                   "0000000000000000: 00000002 00000000 00010000 0001 01 123 /run/a.sock\n"
                                   "0000000000000000: 00000003 00000000 00000000 0001 03 124 /run/a.sock\n"
                                   "0000000000000000: 00000003 00000000 00000000 0001 03 125\n"
                                   "0000000000000000: 00000003 00000000 00000000 0001 03 126 /run/a.sock2\n"
                                   "0000000000000000: 00000003 00000000 00000000 0001 02 127 /run/a.sock\n"
                                   "0000000000000000: 00000003 00000000 00000000 0001 03 128 /run/a.sock";
        NetunixSocket found;

        (void) state;
        netunix_find(text, "/run/a.sock", &found);
        assert_true(found.listening);
        assert_int_equal(found.connections, 2);
        netunix_find(text, "/run/b.sock", &found);
        assert_false(found.listening);
        assert_int_equal(found.connections, 0);
        netunix_find("", "/run/a.sock", &found);
        assert_false(found.listening);
}

static void test_kube_names(void **state) {
        char *path = kube_path("unix:///var/run/crio/crio.sock");

        (void) state;
        assert_string_equal(path, "/run/crio/crio.sock");
        assert_string_equal(kube_runtime(path), "crio");
        free(path);
        assert_string_equal(kube_runtime("/run/k3s/containerd/containerd.sock"), "containerd");
        assert_null(kube_runtime("/run/cri-dockerd.sock"));
        assert_true(kube_cadvisor_stats("unix:///var/run/crio/crio.sock"));
        assert_true(kube_cadvisor_stats("unix:///run/podspan/run/crio/crio.sock"));
        assert_false(kube_cadvisor_stats("unix:///run/podspan/cri.sock"));
        assert_false(kube_cadvisor_stats("crio.sock"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_recognize),
                cmocka_unit_test(test_netunix),
                cmocka_unit_test(test_kube_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
