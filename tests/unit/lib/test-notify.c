#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>
#include "notify.h"
#include "util.h"

#define LISTEN_FD 3

static char folder[] = "/tmp/test-notify-XXXXXX";

/* A datagram socket bound to @name ("@…": abstract). */
static int bind_manager(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        memcpy(address.sun_path, name, strlen(name));
        if (*name == '@')
                address.sun_path[0] = '\0';
        assert_int_equal(bind(fd, (struct sockaddr *) &address,
                              (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                         0);
        return fd;
}

static void expect(int fd, const char *expected) {
        char got[64] = "";
        ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

        assert_int_equal(n, strlen(expected));
        assert_string_equal(got, expected);
}

static void sends_to_a_path_and_to_an_abstract_name(void **state) {
        char names[2][64];

        (void) state;
        (void) snprintf(names[0], sizeof(names[0]), "%s/socket", folder);
        (void) snprintf(names[1], sizeof(names[1]), "@%s", folder);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_close_ int fd = bind_manager(names[i]);

                assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
                notify_send("READY=1");
                notify_send("RELOADING=1\nMONOTONIC_USEC=7");
                expect(fd, "READY=1");
                expect(fd, "RELOADING=1\nMONOTONIC_USEC=7");
                assert_true(recv(fd, names[i], 1, 0) < 0 && errno == EAGAIN);
        }
        assert_int_equal(unlink(names[0]), 0);
}

/* What is too long is cut, never left out: a status is the last line of a message. */
static void formats(void **state) {
        static char status[2 * NOTIFY_MAX], got[2 * NOTIFY_MAX];
        char name[64];
        _cleanup_close_ int fd = -EBADF;

        (void) state;
        (void) snprintf(name, sizeof(name), "@%s", folder);
        fd = bind_manager(name);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        notify_sendf("READY=1\nSTATUS=%s %d", "keeps", 7);
        expect(fd, "READY=1\nSTATUS=keeps 7");

        memset(status, 'x', sizeof(status) - 1);
        notify_sendf("STATUS=%s", status);
        assert_int_equal(recv(fd, got, sizeof(got), 0), NOTIFY_MAX - 1);
        assert_memory_equal(got, "STATUS=xxx", 10);
}

static void watchdog_of_this_process_only(void **state) {
        static const struct {
                const char *usec, *pid; /* "": this process */
                uint64_t expected;
        } cases[] = {
                { NULL, NULL, 0 },
                { "400000", NULL, 400000 },
                { "400000", "", 400000 },
                { "400000", "1", 0 },
                { "0", NULL, 0 },
                { "-1", NULL, 0 },
                { "4000x", NULL, 0 },
                { "", NULL, 0 },
                { "18446744073709551615", NULL, 0 },
                { "400000", "self", 0 },
        };
        char own[16];

        (void) state;
        (void) snprintf(own, sizeof(own), "%d", getpid());
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *pid = cases[i].pid && !*cases[i].pid ? own : cases[i].pid;

                assert_int_equal(cases[i].usec ? setenv("WATCHDOG_USEC", cases[i].usec, 1) : unsetenv("WATCHDOG_USEC"),
                                 0);
                assert_int_equal(pid ? setenv("WATCHDOG_PID", pid, 1) : unsetenv("WATCHDOG_PID"), 0);
                assert_int_equal(notify_watchdog_usec(), cases[i].expected);
        }
}

static void nobody_listens(void **state) {
        char longer[sizeof(((struct sockaddr_un *) 0)->sun_path) + 1];
        const char *const names[] = { "", "@", "/", "relative", "/nonexistent/socket", "@nobody-has-this", longer };

        (void) state;
        memset(longer, 'x', sizeof(longer));
        longer[0] = '/';
        longer[sizeof(longer) - 1] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
                notify_send("READY=1");
        }
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        notify_send("READY=1");
}

/* A manager that does not read must not hold up its service. */
static void never_waits(void **state) {
        char name[64];
        _cleanup_close_ int fd = -EBADF;

        (void) state;
        (void) snprintf(name, sizeof(name), "@%s", folder);
        fd = bind_manager(name);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        for (int i = 0; i < 4096; i++)
                notify_send("WATCHDOG=1");
        expect(fd, "WATCHDOG=1");
}

static void set_listen(const char *pid, const char *fds) {
        char own[16];

        (void) snprintf(own, sizeof(own), "%d", getpid());
        if (pid)
                assert_int_equal(setenv("LISTEN_PID", *pid ? pid : own, 1), 0);
        else
                assert_int_equal(unsetenv("LISTEN_PID"), 0);
        if (fds)
                assert_int_equal(setenv("LISTEN_FDS", fds, 1), 0);
        else
                assert_int_equal(unsetenv("LISTEN_FDS"), 0);
}

static void takes_one_listening_socket(void **state) {
        const struct {
                const char *pid, *fds; /* "": this process */
                int type;
                bool listening;
                int expected;
        } cases[] = {
                { "", "1", SOCK_STREAM, true, LISTEN_FD }, { "", "1", SOCK_STREAM, false, -EINVAL },
                { "", "1", SOCK_DGRAM, false, -EINVAL },   { "", "2", SOCK_STREAM, true, -EINVAL },
                { "", "0", SOCK_STREAM, true, -ENOENT },   { "1", "1", SOCK_STREAM, true, -ENOENT },
                { NULL, "1", SOCK_STREAM, true, -ENOENT }, { "", NULL, SOCK_STREAM, true, -ENOENT },
                { "", "one", SOCK_STREAM, true, -ENOENT }, { "", "1", -1, false, -EINVAL },
                { "-1", "1", SOCK_STREAM, true, -ENOENT },
        };
        int saved = fcntl(LISTEN_FD, F_DUPFD_CLOEXEC, 32);

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                (void) close(LISTEN_FD);
                if (cases[i].type >= 0) {
                        struct sockaddr_un address = { .sun_family = AF_UNIX };
                        _cleanup_close_ int fd = socket(AF_UNIX, cases[i].type, 0);

                        assert_true(fd >= 0);
                        assert_int_equal(dup2(fd, LISTEN_FD), LISTEN_FD);
                        if (fd == LISTEN_FD)
                                TAKE_FD(fd);
                        /* Bound to a name of the kernel's choice. */
                        assert_int_equal(bind(LISTEN_FD, (struct sockaddr *) &address, sizeof(sa_family_t)), 0);
                        if (cases[i].listening)
                                assert_int_equal(listen(LISTEN_FD, 1), 0);
                }
                set_listen(cases[i].pid, cases[i].fds);
                assert_int_equal(notify_listen_fd(), cases[i].expected);
                if (cases[i].expected >= 0) {
                        assert_true(fcntl(LISTEN_FD, F_GETFL) & O_NONBLOCK);
                        assert_int_equal(fcntl(LISTEN_FD, F_GETFD), FD_CLOEXEC);
                }
        }
        (void) close(LISTEN_FD);
        if (saved >= 0) {
                assert_int_equal(dup2(saved, LISTEN_FD), LISTEN_FD);
                (void) close(saved);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sends_to_a_path_and_to_an_abstract_name),
                cmocka_unit_test(formats),
                cmocka_unit_test(watchdog_of_this_process_only),
                cmocka_unit_test(nobody_listens),
                cmocka_unit_test(never_waits),
                cmocka_unit_test(takes_one_listening_socket),
        };
        int r;

        if (!mkdtemp(folder))
                return 1;
        r = cmocka_run_group_tests(tests, NULL, NULL);
        (void) rmdir(folder);
        return r;
}
