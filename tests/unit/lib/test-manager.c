#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "manager.h"

/* As OpenTelemetry's conventions have them in container.runtime.name. */
static void names(void **state) {
        (void) state;

        assert_null(manager_name(MANAGER_UNKNOWN));
        assert_string_equal(manager_name(MANAGER_CONTAINERD), "containerd");
        assert_string_equal(manager_name(MANAGER_CRIO), "cri-o");
        assert_string_equal(manager_name(MANAGER_PODMAN), "podman");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
