#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <cmocka.h>
#include "doctor.h"
#include "endpoint.h"
#include "kube.h"
#include "netunix.h"
#include "util.h"

/* doctor reads others' endpoints by the grammar of podspan's own (test-configvalue): where nobody listens, it says so.
 */
static void test_doctor_forms(void **state) {
        static const struct {
                const char *form; /* %u: a port that refuses */
                const char *says;
        } cases[] = {
                { "127.0.0.1:%u", "nobody answers" },
                { "127.0.0.1:%u/", "nobody answers" },
                { "http://127.0.0.1:%u", "nobody answers" },
                { "HTTP://127.0.0.1:%u/", "nobody answers" },
                { "https://127.0.0.1:%u", "nobody answers" },
                { "HTTPS://127.0.0.1:%u", "nobody answers" },
                { "dns:///127.0.0.1:%u", "nobody answers" },
                { "unix:/nonexistent/%u", "nobody answers" },
                { "UNIX:///nonexistent/%u", "nobody answers" },
                { "127.0.0.1", "without a port" },
                { "[::1]", "without a port" },
                { "http://127.0.0.1:%u/v1/traces", "has no path" },
                { "grpc://127.0.0.1:%u", "the scheme must be" },
                { "::1:%u", "in brackets" },
                { "unix:relative/%u", "an absolute path" },
                { "user@127.0.0.1:%u", "not a host name" },
                { "127.0.0.1:%ux", "the port must be" },
                { ":%u", "not a host name" },
                { "", "not a host name" },
        };
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) state;
        /* Bound and not listening: nobody else gets this port, and it refuses. */
        assert_int_equal(bind(fd, (struct sockaddr *) &address, size), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &size), 0);

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Doctor *doctor = calloc(1, sizeof(*doctor));
                const char *percent = strchr(cases[i].form, '%');
                char s[128];

                assert_non_null(doctor);
                doctor->root_fd = -EBADF;
                if (percent)
                        (void) snprintf(s, sizeof(s), "%.*s%u%s", (int) (percent - cases[i].form), cases[i].form,
                                        (unsigned) ntohs(address.sin_port), percent + 2);
                else
                        (void) snprintf(s, sizeof(s), "%s", cases[i].form);
                doctor_check_endpoint(doctor, "x.collector", "X", s);
                assert_int_equal(doctor->n_findings, 1);
                assert_int_equal(doctor->findings[0].severity, DOCTOR_ERROR);
                if (!strstr(doctor->findings[0].text, cases[i].says))
                        fail_msg("%s: %s", s, doctor->findings[0].text);
                doctor_deinit(doctor);
                free(doctor);
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
                cmocka_unit_test(test_doctor_forms),
                cmocka_unit_test(test_recognize),
                cmocka_unit_test(test_netunix),
                cmocka_unit_test(test_kube_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
