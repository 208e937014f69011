#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "nodeversion.h"

static const struct {
        const char *text;
        bool good;
        unsigned major, minor, patch;
} cases[] = {
        { "v1.34.1", true, 1, 34, 1 },
        { "1.6.20~ds1", true, 1, 6, 20 },
        { "2.1.0-rc.0", true, 2, 1, 0 },
        { "Kubernetes v1.29.3+k3s1", true, 1, 29, 3 },
        { "v1.34", false, 0, 0, 0 },
        { "(devel)", false, 0, 0, 0 },
        { "vv1.2.3", false, 0, 0, 0 },
        { "-1.2.3", false, 0, 0, 0 },
        { " 1.2.3", false, 0, 0, 0 },
        { "", false, 0, 0, 0 },
        { "1.2.3xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false, 0, 0, 0 },
};

static void test_parse(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                NodeVersion version = {};
                bool good = nodeversion_parse(cases[i].text, &version);

                if (good != cases[i].good || version.known != good || version.exact != good ||
                    version.major != cases[i].major || version.minor != cases[i].minor ||
                    version.patch != cases[i].patch)
                        fail_msg("\"%s\"", cases[i].text);
        }
}

static void test_below(void **state) {
        static const NodeVersion version = { .major = 1, .minor = 7, .patch = 16, .known = true, .exact = true };

        (void) state;
        assert_true(nodeversion_below(&version, 2, 0, 0));
        assert_true(nodeversion_below(&version, 1, 8, 0));
        assert_true(nodeversion_below(&version, 1, 7, 17));
        assert_false(nodeversion_below(&version, 1, 7, 16));
        assert_false(nodeversion_below(&version, 1, 6, 99));
        assert_false(nodeversion_below(&version, 0, 99, 99));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_below),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
