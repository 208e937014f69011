#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "flagedit.h"

#define FLAG "--endpoint"

static void test_argv(void **state) {
        static const char argv[] = "/k\0--endpoint=/a\0--endpointx=/b\0--endpoint\0/c\0";
        char *value = NULL;

        (void) state;
        assert_int_equal(flagedit_argv(argv, sizeof(argv) - 1, FLAG, &value), 0);
        assert_string_equal(value, "/c");
        free(value);
        assert_int_equal(flagedit_argv(argv, 17, FLAG, &value), 0);
        assert_string_equal(value, "/a");
        free(value);
        assert_int_equal(flagedit_argv("--endpoint", 10, FLAG, &value), -ENOENT);
        assert_int_equal(flagedit_argv("", 0, FLAG, &value), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_argv),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
