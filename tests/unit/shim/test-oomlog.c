#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "oomlog.h"

#define PATH "/machine.slice/libpod-1.scope"
#define KILL(memcg)                                                                                   \
        "6,812,6033000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-1.scope," \
        "mems_allowed=0,oom_memcg=/machine.slice,task_memcg=" memcg ",task=tail,pid=77,uid=0\n"

static const struct {
        const char *record;
        OomlogRecord expected;
} cases[] = {
        { KILL(PATH), OOMLOG_KILL },
        { KILL(PATH "/container"), OOMLOG_KILL_OTHER },
        { KILL("/machine.slice/libpod-1"), OOMLOG_KILL_OTHER },
        { KILL("/x" PATH), OOMLOG_KILL_OTHER },
        /* Linux 5.10's, and the whole node without memory. */
        { "6,812,6033000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
          "task_memcg=" PATH ",task=tail,pid=77,uid=0",
          OOMLOG_KILL },
        { "6,812,6033000,-;oom-kill:constraint=CONSTRAINT_NONE", OOMLOG_KILL_OTHER },
        /* A name that a process gives itself comes after the path. */
        { "6,812,6033000,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/a,task=,task_memcg=" PATH ",x,pid=7\n",
          OOMLOG_KILL_OTHER },
        /* What a process writes to the log has its facility. */
        { "14,812,6033000,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=" PATH ",task=tail\n", OOMLOG_OTHER },
        { "4,813,6033100,-;oom_kill_process: 3 callbacks suppressed\n", OOMLOG_SUPPRESSED },
        { "3,813,6033100,-;Memory cgroup out of memory: Killed process 77 (oom-kill:) total-vm:17000kB\n",
          OOMLOG_OTHER },
        { "6,1,2,-;x\n oom-kill:,task_memcg=" PATH ",\n", OOMLOG_OTHER },
        { "6,1,2,-;", OOMLOG_OTHER },
        { "6", OOMLOG_OTHER },
        { "", OOMLOG_OTHER },
};

static void test_parse(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 0; n <= strlen(cases[i].record); n++) {
                        _cleanup_free_ char *exact = malloc(n ? n : 1);
                        OomlogRecord found;

                        assert_non_null(exact);
                        memcpy(exact, cases[i].record, n);
                        found = oomlog_parse(exact, n, PATH);
                        if (n == strlen(cases[i].record) && found != cases[i].expected)
                                fail_msg("%s: %d", cases[i].record, found);
                }
        assert_int_equal(oomlog_parse(KILL("/a\\x5cx2d\\xe4"), strlen(KILL("/a\\x5cx2d\\xe4")), "/a\\x2d\xe4"),
                         OOMLOG_KILL);
        assert_int_equal(oomlog_parse(KILL("/a\\x2"), strlen(KILL("/a\\x2")), "/a\\x2"), OOMLOG_KILL);
}

static void log_record(int fd, const char *record) {
        assert_int_equal(send(fd, record, strlen(record), 0), strlen(record));
}

/* Each read of a socket of this type returns one record, as it does of /dev/kmsg. */
static void test_look(void **state) {
        OomlogLook look;
        int fds[2];

        (void) state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        oomlog_look(fds[0], PATH, &look);
        assert_true(look.complete && !look.killed && look.others == 0);

        log_record(fds[1], KILL("/a"));
        log_record(fds[1], KILL(PATH));
        log_record(fds[1], KILL("/b"));
        oomlog_look(fds[0], PATH, &look);
        assert_true(look.complete && look.killed && look.others == 2);
        oomlog_look(fds[0], PATH, &look);
        assert_true(look.complete && !look.killed);

        log_record(fds[1], "4,813,6033100,-;oom_kill_process: 3 callbacks suppressed\n");
        oomlog_look(fds[0], PATH, &look);
        assert_true(!look.complete && !look.killed);

        /* An end is no end of what there is. */
        assert_int_equal(close(fds[1]), 0);
        oomlog_look(fds[0], PATH, &look);
        assert_false(look.complete);
        assert_int_equal(close(fds[0]), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_look),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
