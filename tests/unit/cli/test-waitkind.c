#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <cmocka.h>
#include "util.h"
#include "waitkind.h"

#define HIGH 0x7ffe00000000

static const struct {
        const char *what;
        char state;
        int64_t nr; /* -2: the call is not known; -3: running */
        uint64_t args[6];
        const char *wchan, *stack;
        bool frozen;
        WaitKind kind;
        WaitObject object;
        WaitUse use;
        int fd;
} cases[] = {
        { "flock", 'S', SYS_flock, { 3, 2 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_LOCK, 3 },
        { "F_SETLKW", 'S', SYS_fcntl, { 4, F_SETLKW }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_LOCK_RECORD, 4 },
        { "OFD", 'S', SYS_fcntl, { 4, F_OFD_SETLKW }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_LOCK, 4 },
        { "F_GETFL", 'S', SYS_fcntl, { 4, F_GETFL }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_OTHER, 4 },
        { "read", 'S', SYS_read, { 0 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_READ, 0 },
        { "write", 'S', SYS_write, { 1 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_WRITE, 1 },
        { "recvmsg", 'S', SYS_recvmsg, { 9 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_READ, 9 },
        { "high bits of a descriptor",
          'S',
          SYS_read,
          { 0xdead00000005 },
          "",
          "",
          false,
          0,
          WAIT_OBJECT_FD,
          WAIT_USE_READ,
          5 },
        { "accept4", 'S', SYS_accept4, { 3 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_ACCEPT, 3 },
        { "connect", 'S', SYS_connect, { 3, 0x1000, 110 }, "", "", false, 0, WAIT_OBJECT_CONNECT, WAIT_USE_OPEN, 3 },
        { "openat",
          'S',
          SYS_openat,
          { (uint32_t) AT_FDCWD, 0x1000 },
          "",
          "",
          false,
          0,
          WAIT_OBJECT_PATH,
          WAIT_USE_OPEN,
          -1 },
        { "statx", 'D', SYS_statx, { 5, 0x1000 }, "", "", false, 0, WAIT_OBJECT_PATH, WAIT_USE_OTHER, -1 },
        { "mount", 'D', SYS_mount, { 1, 0x1000 }, "", "", false, 0, WAIT_OBJECT_PATH, WAIT_USE_OTHER, -1 },
        { "ppoll", 'S', SYS_ppoll, { 0x1000, 3 }, "", "", false, 0, WAIT_OBJECT_POLL, 0, -1 },
        { "pselect6", 'S', SYS_pselect6, { 8, 0x1000 }, "", "", false, 0, WAIT_OBJECT_SELECT, 0, -1 },
        { "epoll_pwait", 'S', SYS_epoll_pwait, { 4 }, "", "", false, 0, WAIT_OBJECT_EPOLL, 0, 4 },
        { "wait4", 'S', SYS_wait4, { 77 }, "", "", false, WAIT_CHILD, WAIT_OBJECT_CHILD, 0, -1 },
        { "waitid of a pidfd", 'S', SYS_waitid, { 3, 6 }, "", "", false, 0, WAIT_OBJECT_FD, WAIT_USE_OTHER, 6 },
        { "waitid", 'S', SYS_waitid, { 0 }, "", "", false, WAIT_CHILD, WAIT_OBJECT_CHILD, 0, -1 },
        { "nanosleep", 'S', SYS_clock_nanosleep, {}, "", "", false, WAIT_SLEEP, 0, 0, -1 },
        { "futex", 'S', SYS_futex, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
        { "rt_sigtimedwait", 'S', SYS_rt_sigtimedwait, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
        { "state R", 'R', -2, {}, "", "", false, WAIT_CPU, 0, 0, -1 },
        { "running", 'S', -3, {}, "", "", false, WAIT_CPU, 0, 0, -1 },
        { "stopped, with the call from before", 'T', SYS_read, { 3 }, "", "", false, WAIT_STOPPED, 0, 0, -1 },
        { "traced", 't', SYS_read, { 3 }, "", "", false, WAIT_STOPPED, 0, 0, -1 },
        { "frozen, with the call from before", 'D', SYS_read, { 3 }, "", "", true, WAIT_FREEZER, 0, 0, -1 },
        { "frozen, v2", 'S', 219, {}, "get_signal", "", true, WAIT_FREEZER, 0, 0, -1 },
        { "dead", 'Z', -2, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
        { "no call known", 'S', -2, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
        { "a call of no number", 'S', 100000, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
        { "rtnl", 'D', SYS_sendto, { 3 }, "rtnl_lock", "", false, WAIT_LOCK, 0, 0, -1 },
        { "rtnl by the stack", 'D', SYS_sendto, { 3 }, "", "[<0>] rtnl_lock+0x1/0x2\n", false, WAIT_LOCK, 0, 0, -1 },
#ifdef SYS_open
        { "open", 'S', SYS_open, { 0x1000 }, "", "", false, 0, WAIT_OBJECT_PATH, WAIT_USE_OPEN, -1 },
        { "poll", 'S', SYS_poll, { 0x1000, 1, 5 }, "", "", false, 0, WAIT_OBJECT_POLL, 0, -1 },
        { "vfork", 'D', SYS_vfork, { 1 }, "", "", false, WAIT_CHILD, WAIT_OBJECT_CHILD, 0, -1 },
        { "pause", 'S', SYS_pause, {}, "", "", false, WAIT_UNKNOWN, 0, 0, -1 },
#endif
};

static void test_plans(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                ProcfileSyscall call = { .running = cases[i].nr == -3, .nr = cases[i].nr, .sp = HIGH };
                WaitFacts facts = {
                        .state = cases[i].state,
                        .call = cases[i].nr == -2 ? NULL : &call,
                        .wchan = cases[i].wchan,
                        .stack = cases[i].stack,
                        .frozen = cases[i].frozen,
                };
                WaitPlan plan;

                memcpy(call.args, cases[i].args, sizeof(call.args));
                waitkind_plan(&facts, &plan);
                if (plan.kind != cases[i].kind || plan.object != cases[i].object || plan.use != cases[i].use ||
                    plan.fd != cases[i].fd)
                        fail_msg("%s: kind %s, object %d, use %d, fd %d", cases[i].what, waitkind_name(plan.kind),
                                 plan.object, plan.use, plan.fd);
        }
}

static void test_details(void **state) {
        ProcfileSyscall call = { .nr = SYS_statx, .args = { (uint32_t) AT_FDCWD, 0x1234 }, .sp = HIGH };
        WaitFacts facts = { .state = 'D', .call = &call, .wchan = "", .stack = "" };
        WaitPlan plan;

        (void) state;
        waitkind_plan(&facts, &plan);
        assert_int_equal(plan.dir_fd, AT_FDCWD);
        assert_int_equal(plan.address, 0x1234);
        assert_string_equal(plan.syscall, "statx");
        assert_false(plan.waits_server);

        facts.stack = "[<0>] request_wait_answer+0x12/0x34 [fuse]\n[<0>] fuse_simple_request+0x1/0x2\n";
        waitkind_plan(&facts, &plan);
        assert_true(plan.waits_server);
        facts.stack = "[<0>] fuse_dev_do_read+0x12/0x34 [fuse]\n[<0>] fuse_dev_read+0x1/0x2\n";
        waitkind_plan(&facts, &plan);
        assert_false(plan.waits_server);
        facts.stack = "[<0>] wait_request_wait_answer+0x12/0x34\n";
        waitkind_plan(&facts, &plan);
        assert_false(plan.waits_server);

        /* 32-bit programs have other numbers. */
        call.sp = 0xffffd000;
        waitkind_plan(&facts, &plan);
        assert_true(plan.other_abi);
        assert_int_equal(plan.kind, WAIT_UNKNOWN);
        assert_int_equal(plan.object, WAIT_OBJECT_NONE);
        assert_null(plan.syscall);

        call = (ProcfileSyscall){ .nr = SYS_wait4, .args = { (uint32_t) -1 }, .sp = HIGH };
        waitkind_plan(&facts, &plan);
        assert_int_equal(plan.address, 0);
        call.args[0] = 77;
        waitkind_plan(&facts, &plan);
        assert_int_equal(plan.address, 77);
        assert_false(waitkind_is_idle(&plan));

        call = (ProcfileSyscall){ .nr = SYS_futex, .sp = HIGH };
        waitkind_plan(&facts, &plan);
        assert_true(waitkind_is_idle(&plan));
        assert_false(plan.has_timeout);
        call.args[3] = HIGH;
        waitkind_plan(&facts, &plan);
        assert_true(plan.has_timeout);
        call = (ProcfileSyscall){ .nr = SYS_epoll_pwait, .args = { 3, 0, 0, (uint32_t) -1 }, .sp = HIGH };
        waitkind_plan(&facts, &plan);
        assert_true(waitkind_is_idle(&plan));
        assert_false(plan.has_timeout);
}

static void test_links(void **state) {
        static const struct {
                WaitUse use;
                bool waits_server;
                const char *link, *wchan;
                WaitKind kind;
        } links[] = {
                { WAIT_USE_READ, false, "pipe:[1]", "", WAIT_FIFO },
                { WAIT_USE_READ, false, "/run/fifo", "pipe_read", WAIT_FIFO },
                { WAIT_USE_READ, false, "/run/fifo", "anon_pipe_read", WAIT_FIFO },
                { WAIT_USE_READ, false, "/run/x", "", WAIT_FILE },
                { WAIT_USE_READ, true, "/mnt/x", "", WAIT_MOUNT },
                { WAIT_USE_LOCK, false, "/run/x", "", WAIT_LOCK },
                { WAIT_USE_LOCK_RECORD, true, "/mnt/x", "", WAIT_LOCK },
                { WAIT_USE_READ, false, "socket:[1]", "", WAIT_UNKNOWN },
                { WAIT_USE_READ, false, "anon_inode:[timerfd]", "", WAIT_SLEEP },
                { WAIT_USE_OTHER, false, "anon_inode:[pidfd]", "", WAIT_CHILD },
                { WAIT_USE_OTHER, false, "pidfd:[7]", "", WAIT_CHILD },
                { WAIT_USE_READ, false, "anon_inode:inotify", "", WAIT_UNKNOWN },
                { WAIT_USE_READ, false, "", "", WAIT_UNKNOWN },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
                WaitPlan plan = { .use = links[i].use, .waits_server = links[i].waits_server };

                assert_int_equal(waitkind_of_link(&plan, links[i].link, links[i].wchan), links[i].kind);
        }
}

static void test_names(void **state) {
        (void) state;
        for (int i = 0; i < _WAIT_KIND_MAX; i++)
                assert_non_null(waitkind_name((WaitKind) i));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plans),
                cmocka_unit_test(test_details),
                cmocka_unit_test(test_links),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
