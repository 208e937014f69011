#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../exact.h"
#include "notifyfilter.h"
#include "util.h"

static const struct {
        const char *in;
        const char *out;
} datagrams[] = {
        { "READY=1", "READY=1" },
        { "READY=1\nSTATUS=up\nMAINPID=1", "READY=1\nSTATUS=up" },
        { "MAINPID=1\nFDSTORE=1\nREADY=1\n", "READY=1" },
        { "READY=0", "" },
        { "READY=11", "" },
        { "XREADY=1", "" },
        { "STATUS=", "STATUS=" },
        { "STATUS", "" },
        { "ERRNO=2\r\nBUSERROR=x\rMONOTONIC_USEC=5", "ERRNO=2\nBUSERROR=x\nMONOTONIC_USEC=5" },
        { "RELOADING=1\nSTOPPING=1\nWATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1",
          "RELOADING=1\nSTOPPING=1\nWATCHDOG=1\nWATCHDOG=trigger" },
        { "\n\n\n", "" },
        { "", "" },
};

static void test_datagrams(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(datagrams); i++) {
                size_t len = strlen(datagrams[i].in), n;
                _cleanup_free_ char *in = exact(datagrams[i].in, len), *out = exact(datagrams[i].in, len);

                n = notifyfilter_run(in, len, out);
                assert_int_equal(n, strlen(datagrams[i].out));
                assert_memory_equal(out, datagrams[i].out, n);
        }
}

static void test_nul(_unused_ void **userdata) {
        static const char in[] = "STATUS=a\0READY=1";
        char out[sizeof(in)];

        assert_int_equal(notifyfilter_run(in, sizeof(in) - 1, out), 8);
        assert_memory_equal(out, "STATUS=a", 8);
}

static void test_truncated(_unused_ void **userdata) {
        static const char in[] = "READY=1\nSTATUS=working\nMAINPID=1";

        for (size_t len = 0; len < sizeof(in); len++) {
                _cleanup_free_ char *part = exact(in, len), *out = exact(in, len);

                assert_true(notifyfilter_run(part, len, out) <= len);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_datagrams),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_truncated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
