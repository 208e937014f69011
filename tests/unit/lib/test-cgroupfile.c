#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cgroupfile.h"
#include "../exact.h"
#include "util.h"

#define HYBRID "9:name=systemd:/s\n8:cpu,cpuacct:/c\n4:memory:/kubepods/x:y\n0::/u\n"

static const struct {
        const char *in;
        const char *controller;
        const char *path; /* NULL: the error */
        int r;
} memberships[] = {
        { "0::/a/b\n", NULL, "/a/b", 0 },
        { "0::/", NULL, "/", 0 },
        { HYBRID, NULL, "/u", 0 },
        { HYBRID, "memory", "/kubepods/x:y", 0 },
        { HYBRID, "cpuacct", "/c", 0 },
        { HYBRID, "cpu", "/c", 0 },
        { HYBRID, "mem", NULL, -ENOENT },
        { "4:memory:/m\n", NULL, NULL, -ENOENT },
        { "", NULL, NULL, -ENOENT },
        { "0::\n", NULL, NULL, -EBADMSG },
        { "0::relative\n", NULL, NULL, -EBADMSG },
        { "0::/..\n", NULL, NULL, -EBADMSG },
        { "0::/a/../b\n", NULL, NULL, -EBADMSG },
        { "0::/a/..b\n", NULL, "/a/..b", 0 },
        { "rubbish\n0::/a\n", NULL, NULL, -EBADMSG },
        { "0:rubbish\n", NULL, NULL, -EBADMSG },
        { "\n", NULL, NULL, -EBADMSG },
};

static void test_memberships(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(memberships); i++) {
                size_t len = strlen(memberships[i].in);
                _cleanup_free_ char *in = exact(memberships[i].in, len);
                const char *path = NULL;
                int r = cgroupfile_find_path(in, len, memberships[i].controller, &path);

                if (memberships[i].path) {
                        assert_int_equal(r, strlen(memberships[i].path));
                        assert_memory_equal(path, memberships[i].path, (size_t) r);
                } else {
                        assert_int_equal(r, memberships[i].r);
                        assert_null(path);
                }
        }
}

static void test_truncated(_unused_ void **userdata) {
        for (size_t len = 0; len < sizeof(HYBRID); len++) {
                _cleanup_free_ char *in = exact(HYBRID, len);
                const char *path;

                (void) cgroupfile_find_path(in, len, NULL, &path);
                (void) cgroupfile_find_path(in, len, "memory", &path);
        }
}

static void test_values(_unused_ void **userdata) {
        static const char in[] = "low 0\nhigh 12\nmax 3\noom 1\noom_kill 2\nbad x\nempty \nhuge 99999999999999999999\n";
        uint64_t value = 0;

        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "oom", &value), 0);
        assert_int_equal(value, 1);
        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "oom_kill", &value), 0);
        assert_int_equal(value, 2);
        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "oom_k", &value), -ENOENT);
        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "bad", &value), -EBADMSG);
        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "empty", &value), -EBADMSG);
        assert_int_equal(cgroupfile_value(in, sizeof(in) - 1, "huge", &value), -EBADMSG);
        assert_int_equal(value, 2);

        for (size_t len = 0; len < sizeof(in); len++) {
                _cleanup_free_ char *part = exact(in, len);

                (void) cgroupfile_value(part, len, "huge", &value);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_memberships),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_values),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
