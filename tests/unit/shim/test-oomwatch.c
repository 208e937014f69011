#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "oomwatch.h"

#define PATH        "/slice/scope"
#define KILL(memcg) "6,812,6033000,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=" memcg ",task=tail,pid=77,uid=0\n"

/* A folder with the files of a cgroup and of the one above it. An empty file stands for one of a removed cgroup:
 * neither has the counters. */
typedef struct Fixture {
        Loop *loop;
        OomWatch watch;
        char root[PATH_MAX];
        int log[2]; /* of the kernel; its writing end is the second */
        unsigned n_calls, n_kills;
} Fixture;

static Fixture *current;

static void on_oom(OomWatch *watch) {
        assert_ptr_equal(watch, &current->watch);
        current->n_calls++;
        current->n_kills += watch->killed;
}

static void write_events(Fixture *f, const char *cgroup, unsigned max, unsigned oom, unsigned oom_kill) {
        char path[PATH_MAX + 64], text[256];
        int n = snprintf(text, sizeof(text), "low 0\nhigh 0\nmax %u\noom %u\noom_kill %u\noom_group_kill 0\n", max, oom,
                         oom_kill);
        int fd;

        (void) snprintf(path, sizeof(path), "%s%s/memory.events", f->root, cgroup);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, text, (size_t) n, 0), n);
        assert_int_equal(close(fd), 0);
}

/* As systemd removes a cgroup. The kernel reports no change of its files, so the test does it by another name. */
static void remove_cgroup(Fixture *f, const char *cgroup) {
        char path[PATH_MAX + 64];

        (void) snprintf(path, sizeof(path), "%s%s/memory.events", f->root, cgroup);
        assert_int_equal(truncate(path, 0), 0);
}

static void take_inotify(Fixture *f) {
        char events[4096];

        while (read(f->watch.event_fd, events, sizeof(events)) > 0)
                ;
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        const char *tmp = getenv("TMPDIR");
        char path[PATH_MAX + 64];

        assert_non_null(f);
        current = f;
        f->watch = (OomWatch) OOMWATCH_NULL;
        (void) snprintf(f->root, sizeof(f->root), "%s/podspan-oomwatch-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(f->root));
        (void) snprintf(path, sizeof(path), "%s/slice", f->root);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof(path), "%s/slice/scope", f->root);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(loop_new(&f->loop), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, f->log), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;
        static const char *const names[] = { "/slice/scope/memory.events", "/slice/memory.events", "/slice/scope",
                                             "/slice", "" };

        oomwatch_stop(&f->watch);
        loop_free(f->loop);
        (void) close(f->log[1]);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char path[PATH_MAX + 64];

                (void) snprintf(path, sizeof(path), "%s%s", f->root, names[i]);
                (void) remove(path);
        }
        free(f);
        return 0;
}

static void start(Fixture *f, bool log) {
        assert_int_equal(
                oomwatch_start_unified(&f->watch, f->loop, f->root, PATH, log ? f->log[0] : -EBADF, true, on_oom), 0);
        if (!log)
                (void) close(f->log[0]);
}

static void log_record(Fixture *f, const char *record) {
        assert_int_equal(send(f->log[1], record, strlen(record), 0), strlen(record));
}

static void test_counters(void **state) {
        Fixture *f = *state;

        write_events(f, "/slice", 0, 0, 0);
        write_events(f, PATH, 0, 0, 0);
        start(f, true);
        oomwatch_check(&f->watch);
        write_events(f, PATH, 5, 0, 0);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_calls, 0);
        write_events(f, PATH, 5, 1, 0);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_calls, 1);
        assert_int_equal(f->n_kills, 0);
        write_events(f, PATH, 5, 1, 1);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_calls, 2);
        assert_int_equal(f->n_kills, 1);
}

static void test_what_was_before(void **state) {
        Fixture *f = *state;

        write_events(f, PATH, 0, 1, 1);
        start(f, true);
        assert_int_equal(f->n_kills, 1);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_calls, 1);
}

/* The cgroup is gone when the end is looked at. */
static const struct {
        const char *name;
        const char *log; /* NULL: it cannot be read */
        unsigned seen;   /* oom, as seen while the cgroup was there */
        bool changed;    /* memory.events has changed since */
        unsigned above;  /* kills that the cgroup above counts since the start */
        bool above_gone;
        bool killed;
} removed[] = {
        { "the log names it", KILL(PATH), 0, true, 1, false, true },
        { "the log names it, nothing else does", KILL(PATH), 0, false, 0, true, true },
        { "nothing has happened", "", 0, false, 0, false, false },
        { "nothing has happened, no log", NULL, 0, false, 0, false, false },
        { "its limit was reached, but nothing killed", "", 0, true, 0, false, false },
        { "its limit was reached, but nothing killed, no log", NULL, 0, true, 0, false, false },
        { "a neighbour was killed", KILL("/slice/other"), 0, true, 1, false, false },
        { "a neighbour was killed, no log, no change", NULL, 0, false, 1, false, false },
        { "a kill above that the log lacks", "", 0, true, 1, false, true },
        { "two kills above, the log has one", KILL("/slice/other"), 0, true, 2, false, true },
        { "a kill above, no log", NULL, 0, true, 1, false, true },
        { "out of memory, not killed yet, no log", NULL, 1, false, 1, false, true },
        { "out of memory, not killed yet, nothing above", NULL, 1, false, 0, true, true },
        { "a change, nothing above, no log", NULL, 0, true, 0, true, false },
        { "a change, nothing above, a log without it", "", 0, true, 0, true, false },
        { "a log with gaps", "4,813,6,-;oom_kill_process: 3 callbacks suppressed\n", 0, true, 1, false, true },
};

static void test_removed(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(removed); i++) {
                Fixture *f;
                unsigned before;

                assert_int_equal(setup(state), 0);
                f = *state;
                write_events(f, "/slice", 0, 3, 3);
                write_events(f, PATH, 0, 0, 0);
                start(f, removed[i].log != NULL);
                if (removed[i].seen > 0) {
                        write_events(f, PATH, 1, removed[i].seen, 0);
                        oomwatch_check(&f->watch);
                }
                before = f->n_calls;
                if (removed[i].log && *removed[i].log)
                        log_record(f, removed[i].log);
                write_events(f, "/slice", 0, 3, 3 + removed[i].above);
                if (removed[i].above_gone)
                        remove_cgroup(f, "/slice");
                remove_cgroup(f, PATH);
                if (!removed[i].changed)
                        take_inotify(f);
                oomwatch_check(&f->watch);
                if (f->n_kills != removed[i].killed || f->n_calls - before != removed[i].killed)
                        fail_msg("%s: %u kills, %u calls", removed[i].name, f->n_kills, f->n_calls);
                /* Once and for all. */
                oomwatch_check(&f->watch);
                assert_int_equal(f->n_calls - before, removed[i].killed);
                assert_int_equal(teardown(state), 0);
        }
}

/* A kill that was counted is not found once more in the log. */
static void test_counted_once(void **state) {
        Fixture *f = *state;

        write_events(f, "/slice", 0, 0, 0);
        write_events(f, PATH, 0, 0, 0);
        start(f, true);
        log_record(f, KILL(PATH));
        write_events(f, PATH, 3, 1, 1);
        write_events(f, "/slice", 3, 1, 1);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_kills, 1);
        remove_cgroup(f, PATH);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_kills, 1);
        assert_int_equal(f->n_calls, 1);
}

static void test_no_cgroup(void **state) {
        Fixture *f = *state;

        assert_int_equal(oomwatch_start_unified(&f->watch, f->loop, f->root, PATH, f->log[0], true, on_oom), -ENOENT);
        oomwatch_check(&f->watch);
        assert_int_equal(f->n_calls, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_was_before, setup, teardown),
                cmocka_unit_test(test_removed),
                cmocka_unit_test_setup_teardown(test_counted_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_cgroup, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
