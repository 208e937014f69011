#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "contextmatch.h"
#include "operations.h"
#include "util.h"

static const char *const all[] = {
        "RunPodSandbox", "StopPodSandbox",  "RemovePodSandbox",         "CreateContainer",     "StartContainer",
        "StopContainer", "RemoveContainer", "UpdateContainerResources", "CheckpointContainer", "ExecSync",
        "Exec",          "PullImage",       "ListContainers",
};

/* @list has exactly those of all that are in @expected, which are separated by blanks. */
static void expect(const char *const *list, const char *expected) {
        size_t n = 0, n_expected = 0;

        for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
                size_t len = strlen(all[i]);
                const char *at = strstr(expected, all[i]);
                bool wanted = false;

                for (; at && !wanted; at = strstr(at + 1, all[i]))
                        wanted = (at == expected || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0');
                n_expected += wanted;
                if (contextmatch_operation_asked(list, all[i], len) != wanted)
                        fail_msg("%s %s be in the list", all[i], wanted ? "should" : "should not");
        }
        while (list[n])
                n++;
        assert_int_equal(n, n_expected);
}

static void creating(void **state) {
        static const struct {
                Manager manager;
                const char *expected;
        } cases[] = {
                { MANAGER_CONTAINERD, "StartContainer" },
                { MANAGER_CRIO, "CreateContainer" },
                { MANAGER_PODMAN, "StartContainer CreateContainer RunPodSandbox" },
                { MANAGER_UNKNOWN, "StartContainer CreateContainer RunPodSandbox" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                expect(operations_create(cases[i].manager, false), cases[i].expected);
                expect(operations_create(cases[i].manager, true), "RunPodSandbox");
        }
        expect(operations_sandbox(), "RunPodSandbox");
}

static void ending(void **state) {
        (void) state;

        expect(operations_end(false),
               "StopContainer RemoveContainer StopPodSandbox RemovePodSandbox StartContainer CreateContainer");
        expect(operations_end(true), "StopPodSandbox RemovePodSandbox RunPodSandbox");
}

static void executing(void **state) {
        (void) state;

        expect(operations_exec(), "ExecSync Exec");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(creating),
                cmocka_unit_test(ending),
                cmocka_unit_test(executing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
