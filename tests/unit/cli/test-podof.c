#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../exact.h"
#include "podof.h"
#include "util.h"

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2 "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define UID "2f1e6a1c-1111-4222-8333-0123456789ab"

static void test_kinds(void **state) {
        static const struct {
                const char *exe;
                PodofKind kind;
        } cases[] = {
                { "/usr/bin/containerd", PODOF_ENGINE },
                { "/usr/bin/containerd (deleted)", PODOF_ENGINE },
                { "/usr/bin/containerd-shim-runc-v2", PODOF_SHIM },
                { "/usr/bin/containerd-stress", PODOF_OTHER },
                { "/usr/bin/crio", PODOF_ENGINE },
                { "/usr/libexec/crio/conmon", PODOF_MONITOR },
                { "/usr/libexec/podspan/podspan-conmon", PODOF_MONITOR },
                { "/usr/sbin/runc", PODOF_RUNTIME },
                { "/memfd:runc_cloned:/proc/self/exe (deleted)", PODOF_RUNTIME },
                { "/memfd:evil (deleted)", PODOF_OTHER },
                { "/usr/bin/runcx", PODOF_OTHER },
                { "/usr/bin/kubelet", PODOF_KUBELET },
                { "runc", PODOF_RUNTIME },
                { "", PODOF_OTHER },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                if (podof_kind(cases[i].exe) != cases[i].kind)
                        fail_msg("%s", cases[i].exe);
}

/* Arguments are parted by "|" here. */
static void read_line(PodofKind kind, const char *line, size_t cut, Podof *ret) {
        size_t n = strlen(line) + 1 - cut;
        _cleanup_free_ char *bytes = exact(line, n);

        for (size_t i = 0; i < n; i++)
                if (bytes[i] == '|')
                        bytes[i] = '\0';
        podof_cmdline(kind, bytes, n, ret);
}

static void test_command_lines(void **state) {
        static const struct {
                PodofKind kind;
                const char *line, *verb, *id, *bundle;
        } cases[] = {
                { PODOF_SHIM, "containerd-shim-runc-v2|-namespace|k8s.io|-id|" ID "|-address|/x.sock", "", ID, "" },
                { PODOF_SHIM, "containerd-shim-runc-v2|-namespace|k8s.io|-id|" ID "|-bundle|/b|delete", "delete", ID,
                  "/b" },
                { PODOF_RUNTIME, "runc|--root|/run/runc|--log|/x/create|create|--bundle|/b/" ID "|--pid-file|/p|" ID,
                  "create", ID, "/b/" ID },
                { PODOF_RUNTIME, "crun|--root=/r|--systemd-cgroup|create|-b|/b|" ID, "create", ID, "/b" },
                { PODOF_RUNTIME, "runc|kill|--all|" ID "|15", "kill", ID, "" },
                { PODOF_RUNTIME, "runc|exec|--process|/p|" ID "|sh|" ID2, "exec", ID, "" },
                { PODOF_RUNTIME, "runc|init", "init", "", "" },
                { PODOF_RUNTIME, "runc|delete|short", "delete", "", "" },
                { PODOF_RUNTIME, "runc", "", "", "" },
                { PODOF_MONITOR, "conmon|-b|/b|-c|" ID "|-n|k8s_app_web_default_" UID "_0", "", ID, "/b" },
                { PODOF_MONITOR, "conmon|-c|" ID "|-e|--exec-process-spec|/s", "exec", ID, "" },
                { PODOF_OTHER, "runc|create|" ID, "", "", "" },
                { PODOF_SHIM, "", "", "", "" },
                { PODOF_SHIM, "shim|-id|../../etc", "", "", "" },
        };
        Podof podof;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                read_line(cases[i].kind, cases[i].line, 0, &podof);
                if (strcmp(podof.verb, cases[i].verb) != 0 || strcmp(podof.id, cases[i].id) != 0 ||
                    strcmp(podof.bundle, cases[i].bundle) != 0)
                        fail_msg("%s: %s %s %s", cases[i].line, podof.verb, podof.id, podof.bundle);
                for (size_t cut = 0; cut <= strlen(cases[i].line); cut++)
                        read_line(cases[i].kind, cases[i].line, cut, &podof);
        }
        read_line(PODOF_MONITOR, "conmon|-n|k8s_POD_web_default_" UID "_0", 0, &podof);
        assert_string_equal(podof.container_name, "POD");
        assert_string_equal(podof.pod_name, "web");
        assert_string_equal(podof.pod_namespace, "default");
        assert_string_equal(podof.pod_uid, UID);
        read_line(PODOF_MONITOR, "conmon|-n|k8s_a_b_c_d_e_f_g", 0, &podof);
        assert_string_equal(podof.pod_name, "");
}

static void test_variables(void **state) {
        static const char all[] = "PATH=/bin\0SECRET=x\0CNI_COMMAND=ADD\0CNI_CONTAINERID=" ID "\0CNI_IFNAME=eth0\0"
                                  "XCNI_COMMAND=DEL\0CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;"
                                  "K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=" UID;
        char kept[PODOF_ENVIRON_MAX];
        Podof podof = {};
        size_t n;

        (void) state;
        for (size_t cut = 0; cut < sizeof(all); cut++) {
                _cleanup_free_ char *bytes = exact(all, sizeof(all) - cut);

                n = podof_filter(bytes, sizeof(all) - cut, kept);
                podof = (Podof){};
                podof_environ(kept, n, &podof);
                if (cut > 0)
                        continue;
                assert_string_equal(podof.cni, "ADD");
                assert_string_equal(podof.id, ID);
                assert_string_equal(podof.ifname, "eth0");
                assert_string_equal(podof.pod_name, "web");
                assert_string_equal(podof.pod_namespace, "default");
                assert_string_equal(podof.pod_uid, UID);
                assert_null(memmem(kept, n, "SECRET", 6));
                assert_null(memmem(kept, n, "PATH", 4));
        }
        podof = (Podof){};
        podof_environ("CNI_CONTAINERID=../x\0CNI_ARGS=K8S_POD_UID=a/b;;=;K8S_POD_NAME=\xff", 58, &podof);
        assert_string_equal(podof.id, "");
        assert_string_equal(podof.pod_uid, "");
        assert_string_equal(podof.pod_name, "");
}

/* However much a process has, no more is kept than there is room for. */
static void test_many_variables(void **state) {
        size_t n = 3 * PODOF_ENVIRON_MAX;
        _cleanup_free_ char *all = malloc(n);
        char kept[PODOF_ENVIRON_MAX];

        (void) state;
        assert_non_null(all);
        for (size_t i = 0; i < n; i++)
                all[i] = "CNI_X=1"[i % 8];
        assert_true(podof_filter(all, n, kept) <= PODOF_ENVIRON_MAX);
        memset(all, 'x', n);
        memcpy(all, "CNI_ARGS=", 9);
        assert_int_equal(podof_filter(all, n, kept), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kinds),
                cmocka_unit_test(test_command_lines),
                cmocka_unit_test(test_variables),
                cmocka_unit_test(test_many_variables),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
