#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "stage.h"
#include "util.h"

static void test_names(_unused_ void **userdata) {
        static const char *const names[] = { "prestart",       "createRuntime", "createContainer",
                                             "startContainer", "poststart",     "poststop" };
        Stage stage;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                assert_int_equal(stage_parse(names[i], &stage), 0);
                assert_string_equal(stage_name(stage), names[i]);
        }
        assert_int_equal(stage_parse("createruntime", &stage), -EINVAL);
        assert_int_equal(stage_parse("", &stage), -EINVAL);
        assert_null(stage_name(STAGE_UNKNOWN));
}

static bool has(Stage stage, Manager manager, bool sandbox, const char *operation) {
        for (const char *const *o = stage_operations(stage, manager, sandbox); *o; o++)
                if (strcmp(*o, operation) == 0)
                        return true;
        return false;
}

static void test_operations(_unused_ void **userdata) {
        assert_true(has(STAGE_CREATE_RUNTIME, MANAGER_CONTAINERD, false, "StartContainer"));
        assert_false(has(STAGE_CREATE_RUNTIME, MANAGER_CONTAINERD, false, "CreateContainer"));
        assert_true(has(STAGE_CREATE_RUNTIME, MANAGER_CRIO, false, "CreateContainer"));
        assert_false(has(STAGE_CREATE_RUNTIME, MANAGER_CRIO, false, "StartContainer"));
        assert_true(has(STAGE_CREATE_RUNTIME, MANAGER_CONTAINERD, true, "RunPodSandbox"));
        assert_false(has(STAGE_CREATE_RUNTIME, MANAGER_CONTAINERD, true, "StartContainer"));

        /* runc runs these hooks in `runc create`, which with CRI-O is CreateContainer. */
        assert_true(has(STAGE_POSTSTART, MANAGER_CRIO, false, "CreateContainer"));
        assert_true(has(STAGE_POSTSTART, MANAGER_CRIO, false, "StartContainer"));
        assert_true(has(STAGE_POSTSTOP, MANAGER_CRIO, false, "StopPodSandbox"));
        assert_true(has(STAGE_POSTSTOP, MANAGER_CONTAINERD, false, "StartContainer"));
        assert_true(has(STAGE_POSTSTOP, MANAGER_CONTAINERD, true, "RunPodSandbox"));

        /* Never a probe. */
        for (int stage = STAGE_PRESTART; stage <= STAGE_UNKNOWN; stage++)
                for (int manager = MANAGER_UNKNOWN; manager <= MANAGER_PODMAN; manager++)
                        assert_false(has(stage, manager, false, "ExecSync") || has(stage, manager, true, "ExecSync"));
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_operations) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
