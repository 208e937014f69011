#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "clk.h"
#include "../exact.h"
#include "watchstate.h"

#define BOOT   "01234567-89ab-cdef-0123-456789abcdef"
#define HEAD   "podspan-watch 1\n"
#define REST   "pid 7\nsince_ns 9\nboot " BOOT "\n"
#define RECORD HEAD "state refused\nmissing btf\n" REST "reason No type information.\n"

static char dir[40];
static int dir_fd = -EBADF;

static int setup(void **state) {
        (void) state;

        strcpy(dir, "/tmp/test-watchstate-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int teardown(void **state) {
        (void) state;

        (void) unlinkat(dir_fd, WATCHSTATE_FILE, 0);
        (void) unlinkat(dir_fd, "other", 0);
        dir_fd = close_fd(dir_fd);
        return rmdir(dir);
}

static void put(const char *text) {
        _cleanup_close_ int fd = openat(dir_fd, WATCHSTATE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

        assert_true(fd >= 0);
        assert_int_equal(util_write_all(fd, text, strlen(text)), 0);
}

static int parse(const char *s, size_t len, WatchState *ret) {
        _cleanup_free_ char *copy = exact(s, len);
        char boot[WATCHSTATE_BOOT_SIZE];

        assert_non_null(copy);
        return watchstate_parse(copy, len, ret, boot);
}

static void test_parse(void **state) {
        static const struct {
                const char *what, *text;
                int r;
        } cases[] = {
                { "refused", RECORD, 0 },
                { "running", HEAD "state running\nmissing \n" REST "reason \n", 0 },
                { "another order", HEAD "reason x\nmissing kernel\nstate refused\n" REST, 0 },
                { "a later key", RECORD "colour blue\n", 0 },
                { "nothing", "", -EBADMSG },
                { "another version", "podspan-watch 2\n", -EBADMSG },
                { "another state", HEAD "state dancing\nmissing \n" REST "reason \n", -EBADMSG },
                { "only a reader says died", HEAD "state died\nmissing \n" REST "reason \n", -EBADMSG },
                { "only a reader says stale", HEAD "state stale\nmissing \n" REST "reason \n", -EBADMSG },
                { "refused for nothing", HEAD "state refused\nmissing \n" REST "reason \n", -EBADMSG },
                { "runs without BTF", HEAD "state running\nmissing btf\n" REST "reason \n", -EBADMSG },
                { "lacks what nobody knows", HEAD "state refused\nmissing luck\n" REST "reason \n", -EBADMSG },
                { "twice", RECORD "pid 8\n", -EBADMSG },
                { "no key", RECORD "\n", -EBADMSG },
                { "no reason", HEAD "state stopped\nmissing \n" REST, -EBADMSG },
                { "pid 0", HEAD "state stopped\nmissing \npid 0\nsince_ns 9\nboot " BOOT "\nreason \n", -EBADMSG },
                { "large pid", HEAD "state stopped\nmissing \npid 2147483648\nsince_ns 9\nboot " BOOT "\nreason \n",
                  -EBADMSG },
                { "no boot", HEAD "state stopped\nmissing \npid 1\nsince_ns 9\nboot x\nreason \n", -EBADMSG },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                WatchState out = { .pid = 99 };
                int r = parse(cases[i].text, strlen(cases[i].text), &out);

                if (r != cases[i].r)
                        fail_msg("%s: %d, not %d", cases[i].what, r, cases[i].r);
                assert_true(r == 0 || out.pid == 99);
        }
}

static void test_parse_values(void **state) {
        WatchState out;

        (void) state;
        assert_int_equal(parse(RECORD, strlen(RECORD), &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_REFUSED);
        assert_int_equal(out.missing, WATCHSTATE_MISSING_BTF);
        assert_int_equal(out.pid, 7);
        assert_int_equal(out.since_ns, 9);
        assert_string_equal(out.reason, "No type information.");
        for (size_t len = 0; len < strlen(RECORD); len++)
                assert_int_equal(parse(RECORD, len, &out), -EBADMSG);
}

/* A terminal shows the reason. */
static void test_reason_is_printable(void **state) {
        WatchState out, in = { .kind = WATCHSTATE_FAILED, .pid = 1 };
        char text[WATCHSTATE_MAX];

        (void) state;
        strcpy(in.reason, "a\nb\x1b[2J\x7f caf\xc3\xa9 \xc2\x9b");
        assert_int_equal(parse(text, watchstate_format(&in, BOOT, text), &out), 0);
        assert_string_equal(out.reason, "a?b?[2J? caf\xc3\xa9 ??");
        strcpy(in.reason, "bad \xff \xc3");
        assert_int_equal(parse(text, watchstate_format(&in, BOOT, text), &out), 0);
        assert_string_equal(out.reason, "bad ? ?");
        memset(in.reason, 'x', sizeof(in.reason));
        assert_int_equal(parse(text, watchstate_format(&in, BOOT, text), &out), 0);
        assert_int_equal(strlen(out.reason), WATCHSTATE_REASON_MAX - 1);
}

static void test_lifetime(void **state) {
        WatchState in = { .kind = WATCHSTATE_STARTING }, out;
        int lock_fd = -EBADF;
        struct stat st;

        (void) state;
        assert_int_equal(watchstate_read(dir_fd, &out), -ENOENT);
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_STARTING);

        in.kind = WATCHSTATE_RUNNING;
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        assert_true(lock_fd >= 0);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_RUNNING);
        assert_int_equal(out.pid, getpid());
        assert_true(out.since_ns <= clk_realtime() && out.since_ns > clk_realtime() - 60 * NSEC_PER_SEC);

        in.kind = WATCHSTATE_REFUSED;
        in.missing = WATCHSTATE_MISSING_CAPABILITY;
        strcpy(in.reason, "why");
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        assert_int_equal(lock_fd, -EBADF);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_REFUSED);
        assert_int_equal(out.missing, WATCHSTATE_MISSING_CAPABILITY);
        assert_string_equal(out.reason, "why");
        assert_int_equal(fstatat(dir_fd, WATCHSTATE_FILE, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777 & ~0640, 0);
        assert_int_equal(faccessat(dir_fd, "." WATCHSTATE_FILE, F_OK, 0), -1);
}

/* SIGKILL leaves the record of a running process behind. */
static void test_killed(void **state) {
        const WatchState in = { .kind = WATCHSTATE_RUNNING };
        int lock_fd = -EBADF, ready[2];
        WatchState out;
        pid_t child;
        char c;

        (void) state;
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                if (watchstate_write(dir_fd, &in, &lock_fd) < 0 || write(ready[1], "", 1) != 1)
                        _exit(1);
                for (;;)
                        (void) pause();
        }
        ready[1] = close_fd(ready[1]);
        assert_int_equal(read(ready[0], &c, 1), 1);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_RUNNING);
        assert_int_equal(out.pid, child);

        /* Another one, without the rights that it needs say, does not hide the one that runs. */
        assert_int_equal(
                watchstate_write(dir_fd,
                                 &(WatchState){ .kind = WATCHSTATE_REFUSED, .missing = WATCHSTATE_MISSING_CAPABILITY },
                                 &lock_fd),
                -EBUSY);

        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_DIED);
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_RUNNING);
        close_fd(lock_fd);
        close_fd(ready[0]);
}

/* Whoever may read the record can lock it, too: that makes no process run, and keeps none from recording its state. */
static void test_lock_of_a_reader(void **state) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
        WatchState in = { .kind = WATCHSTATE_RUNNING }, out;
        int lock_fd = -EBADF, reader, ended;

        (void) state;
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        reader = openat(dir_fd, WATCHSTATE_FILE, O_RDONLY | O_CLOEXEC);
        assert_true(reader >= 0);
        (void) fcntl(reader, F_OFD_SETLK, &lock);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_RUNNING);

        lock_fd = close_fd(lock_fd);
        (void) fcntl(reader, F_OFD_SETLK, &lock);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_DIED);
        in.kind = WATCHSTATE_STOPPED;
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_STOPPED);

        ended = openat(dir_fd, WATCHSTATE_FILE, O_RDONLY | O_CLOEXEC);
        assert_int_equal(fcntl(ended, F_OFD_SETLK, &lock), 0);
        in.kind = WATCHSTATE_STARTING;
        assert_int_equal(watchstate_write(dir_fd, &in, &lock_fd), 0);
        close_fd(lock_fd);
        close_fd(reader);
        close_fd(ended);
}

/* What podspan-watch lacked on an earlier boot says nothing about this one. */
static void test_earlier_boot(void **state) {
        WatchState out;

        (void) state;
        put(RECORD);
        assert_int_equal(watchstate_read(dir_fd, &out), 0);
        assert_int_equal(out.kind, WATCHSTATE_STALE);
}

static void test_not_a_record(void **state) {
        char big[WATCHSTATE_MAX + 2];
        WatchState out;

        (void) state;
        put(RECORD);
        assert_int_equal(fchmodat(dir_fd, WATCHSTATE_FILE, 0660, 0), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), -EPERM);
        assert_int_equal(renameat(dir_fd, WATCHSTATE_FILE, dir_fd, "other"), 0);
        assert_int_equal(fchmodat(dir_fd, "other", 0640, 0), 0);
        assert_int_equal(symlinkat("other", dir_fd, WATCHSTATE_FILE), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), -EPERM);
        assert_int_equal(unlinkat(dir_fd, WATCHSTATE_FILE, 0), 0);
        assert_int_equal(mkfifoat(dir_fd, WATCHSTATE_FILE, 0600), 0);
        assert_int_equal(watchstate_read(dir_fd, &out), -EPERM);
        assert_int_equal(unlinkat(dir_fd, WATCHSTATE_FILE, 0), 0);

        memset(big, 'x', sizeof(big));
        big[sizeof(big) - 1] = '\0';
        put(big);
        assert_int_equal(watchstate_read(dir_fd, &out), -EBADMSG);
        if (geteuid() == 0) {
                put(RECORD);
                assert_int_equal(fchownat(dir_fd, WATCHSTATE_FILE, 1, -1, 0), 0);
                assert_int_equal(watchstate_read(dir_fd, &out), -EPERM);
        }
}

static void test_names(void **state) {
        (void) state;
        for (WatchStateKind kind = 0; kind < _WATCHSTATE_KIND_MAX; kind++)
                assert_true(*watchstate_kind_name(kind));
        assert_string_equal(watchstate_missing_name(WATCHSTATE_MISSING_NONE), "");
        assert_string_equal(watchstate_missing_name(WATCHSTATE_MISSING_NAMESPACE), "namespace");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_values),
                cmocka_unit_test(test_reason_is_printable),
                cmocka_unit_test_setup_teardown(test_lifetime, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lock_of_a_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(test_earlier_boot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_a_record, setup, teardown),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
