#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "nodeproc.h"

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UID "2f1e6a1c-1111-4222-8333-0123456789ab"

static const struct {
        const char *path;
        const char *base; /* of PID 1 */
        bool in_pod;
        bool is_unit;
} cases[] = {
        { "/system.slice/kubelet.service", "/init.scope", false, true },
        { "/system.slice/kubelet.service", "/", false, true },
        { "/system.slice/containerd.service/inner", "/init.scope", false, true },
        { "/user.slice/user-0.slice/session-3.scope", "/init.scope", false, false },
        { "/", "/", false, false },
        { "", "", false, false },
        { "/podruntime/kubelet", "/init", false, false },
        { "/system.slice/podspan-cri@containerd.service", "/init.scope", false, true },
        { "/kubepods.slice/kubepods-besteffort.slice/x", "/init.scope", true, false },
        { "/kubepods/burstable/pod" UID "/" ID, "/", true, false },
        { "/k8s.io/" ID, "/", true, false },
        { "/machine.slice/libpod-" ID ".scope", "/init.scope", true, false },
        { "/custom/pod" UID "/x", "/", true, false },
        { "/custom.slice/custom-pod2f1e6a1c_1111_4222_8333_0123456789ab.slice/x", "/", true, false },
        /* The node is a container: what PID 1 is in does not count, what is below it does. */
        { "/docker/" ID "/kubelet.slice/kubelet.service", "/docker/" ID "/init.scope", false, true },
        { "/docker/" ID "/kubelet.slice/kubelet.service", "/docker/" ID, false, true },
        { "/docker/" ID "/kubelet/kubepods/x", "/docker/" ID "/init.scope", true, false },
        { "/docker/" ID "x/kubelet.service", "/docker/" ID, true, true },
        { "/docker/" ID, "/docker/" ID "/init.scope", false, false },
        { "/../../system.slice/kubelet.service", "/../../init.scope", false, true },
        /* One digit short of an id, and of a UID. */
        { "/x/23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "/", false, false },
        { "/x/pod2f1e6a1c-1111-4222-8333-0123456789a", "/", false, false },
};

static void test_paths(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *path = cases[i].path, *base = cases[i].base;

                if (nodeproc_path_in_pod(path, strlen(path), base, strlen(base)) != cases[i].in_pod ||
                    nodeproc_path_is_unit(path, strlen(path)) != cases[i].is_unit)
                        fail_msg("%s below %s", path, base);
        }
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 1; n <= strlen(cases[i].path); n++) {
                        _cleanup_free_ char *exact = malloc(n);

                        assert_non_null(exact);
                        memcpy(exact, cases[i].path, n);
                        (void) nodeproc_path_in_pod(exact, n, exact, n);
                        (void) nodeproc_path_is_unit(exact, n);
                        /* A longer path is never less in a pod. */
                        if (nodeproc_path_in_pod(exact, n, "", 0) && exact[n - 1] == '/')
                                assert_true(nodeproc_path_in_pod(cases[i].path, strlen(cases[i].path), "", 0));
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_paths),
                cmocka_unit_test(test_truncated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
