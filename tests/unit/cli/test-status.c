#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <cmocka.h>
#include "status.h"

static void test_find_lock(void **state) {
        static const char locks[] = "1: POSIX  ADVISORY  WRITE 100 fe:01:7 0 EOF\n"
                                    "2: FLOCK  ADVISORY  READ 101 fe:01:7 0 EOF\n"
                                    "3: FLOCK  ADVISORY  WRITE 102 fe:01:8 0 EOF\n"
                                    "3: -> FLOCK  ADVISORY  WRITE 103 fe:01:9 0 EOF\n"
                                    "4: FLOCK  ADVISORY  WRITE 104 00:1a:10 0 EOF";
        static const struct {
                unsigned major, minor;
                ino_t inode;
                bool found;
        } cases[] = {
                { 0xfe, 1, 7, false }, { 0xfe, 1, 8, true },  { 0xfe, 2, 8, false },
                { 0xfe, 1, 9, false }, { 0, 0x1a, 10, true }, { 0, 0x1a, 1, false },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(status_find_lock(locks, makedev(cases[i].major, cases[i].minor), cases[i].inode),
                                 cases[i].found);
        for (size_t len = 0; len < sizeof(locks) - 8; len++) {
                _cleanup_free_ char *cut = strndup(locks, len);

                assert_non_null(cut);
                assert_false(status_find_lock(cut, makedev(0, 0x1a), 10));
        }
        assert_false(status_find_lock("", 0, 0));
}

static void test_meta(void **state) {
        Status status = { .meta = { { (char *) "node", (char *) "n" },
                                    { (char *) "started_ns", (char *) "17" },
                                    { (char *) "bad_ns", (char *) "-1" } },
                          .n_meta = 3 };

        (void) state;

        assert_string_equal(status_meta(&status, "node"), "n");
        assert_null(status_meta(&status, "absent"));
        assert_int_equal(status_meta_u64(&status, "started_ns"), 17);
        assert_int_equal(status_meta_u64(&status, "bad_ns"), 0);
        assert_int_equal(status_meta_u64(&status, "absent"), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_find_lock),
                cmocka_unit_test(test_meta),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
