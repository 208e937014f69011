#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "clk.h"
#include "procfs.h"
#include "util.h"

#define REST " R 22 1 1 0 -1 4194304 5 6 7 8 9 10 11 12 13 14 15 16 277212 18 19\n"

static int parse(const char *s, size_t len, ProcfsProcess *ret) {
        _cleanup_free_ char *exact = malloc(len > 0 ? len : 1);

        assert_non_null(exact);
        memcpy(exact, s, len);
        return procfs_parse_stat(exact, len, ret);
}

static void test_parse(_unused_ void **userdata) {
        static const char *const good[] = { "11 (runc)" REST, "11 (a b)" REST, "11 ()" REST, "11 (x) R 1 (y))" REST };
        static const char *const bad[] = { "",
                                           "11",
                                           "11 (runc",
                                           "11 runc)",
                                           "(runc)" REST,
                                           "x (runc)" REST,
                                           "11 (runc) R 22",
                                           "11 (runc) R -1 1",
                                           "99999999999 (runc)" REST };
        ProcfsProcess process;

        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                assert_int_equal(parse(good[i], strlen(good[i]), &process), 0);
                assert_int_equal(process.pid, 11);
                assert_int_equal(process.ppid, 22);
                assert_int_equal(process.start_ticks, 277212);
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(parse(bad[i], strlen(bad[i]), &process), -EBADMSG);
}

/* A number cut short is not another number. */
static void test_truncation(_unused_ void **userdata) {
        static const char good[] = "11 (runc)" REST;
        size_t needed = (size_t) (strstr(good, "277212") - good) + strlen("277212 ");
        ProcfsProcess process;

        for (size_t len = 0; len < strlen(good); len++)
                assert_int_equal(parse(good, len, &process), len < needed ? -EBADMSG : 0);
}

static void test_own_parent(_unused_ void **userdata) {
        ProcfsProcess self, parent;

        assert_int_equal(procfs_get(getpid(), &self), 0);
        assert_int_equal(self.ppid, getppid());
        assert_int_equal(procfs_get_parent(&parent), 0);
        assert_int_equal(parent.pid, getppid());
        assert_true(parent.start_ticks <= self.start_ticks);
        assert_int_equal(procfs_get(0x7fffffff, &self), -ENOENT);
}

static void test_start(_unused_ void **userdata) {
        uint64_t tick = NSEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK), before, after, start;
        ProcfsProcess child;
        int fds[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        before = clk_realtime();
        pid = fork();
        if (pid == 0) {
                close(fds[1]);
                _exit(read(fds[0], &byte, 1) == 0 ? 0 : 1);
        }
        after = clk_realtime();

        assert_int_equal(procfs_get(pid, &child), 0);
        start = procfs_start_realtime(&child);
        assert_in_range(start, before - tick - NSEC_PER_MSEC, after + NSEC_PER_MSEC);

        close(fds[0]);
        close(fds[1]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A start that lies ahead of the clock, as after a restored snapshot. */
static void test_start_ahead(_unused_ void **userdata) {
        ProcfsProcess process = { .start_ticks = UINT64_MAX / NSEC_PER_SEC };

        assert_true(procfs_start_realtime(&process) <= clk_realtime());
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse), cmocka_unit_test(test_truncation),  cmocka_unit_test(test_own_parent),
                cmocka_unit_test(test_start), cmocka_unit_test(test_start_ahead),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
