#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "semconv.h"
#include "util.h"

static void test_long_lived(void **state) {
        static const struct {
                const char *name;
                bool long_lived;
        } cases[] = {
                { "attach", true },
                { "container", true },
                { "read_loop", true },
                { "wait_for_exit_code", true },
                { "runtime.v1.RuntimeService/StopContainer", false },
                { "runc create", false },
                { "containers", false },
                { "read", false },
                { "", false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                if (semconv_long_lived(cases[i].name) != cases[i].long_lived)
                        fail_msg("%s", cases[i].name);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_long_lived) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
