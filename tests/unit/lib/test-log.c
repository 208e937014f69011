#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "clk.h"
#include "log.h"

static int saved_stderr = -EBADF;
static int reader = -EBADF;
static Clk now;

static Clk fake(void) {
        return now;
}

/* Puts @fd in standard error's place. */
static void redirect(int fd) {
        assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        (void) close(fd);
        log_setup("test", LOG_LEVEL_INFO);
}

static int setup(void **state) {
        int fds[2];

        (void) state;

        saved_stderr = dup(STDERR_FILENO);
        assert_int_equal(pipe(fds), 0);
        reader = fds[0];
        assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
        redirect(fds[1]);
        return 0;
}

static int teardown(void **state) {
        (void) state;

        (void) dup2(saved_stderr, STDERR_FILENO);
        saved_stderr = close_fd(saved_stderr);
        reader = close_fd(reader);
        clk_override(NULL);
        return 0;
}

static void expect(const char *expected) {
        char buf[8192];
        ssize_t n = read(reader, buf, sizeof(buf) - 1);

        buf[n > 0 ? n : 0] = '\0';
        assert_string_equal(buf, expected);
}

static void test_prefix(void **state) {
        (void) state;

        log_error("a");
        log_warning("b %d", 1);
        log_notice("c");
        log_info("d");
        log_debug("e");
        expect("<3>a\n<4>b 1\n<5>c\n<6>d\n");

        log_set_level(LOG_LEVEL_DEBUG);
        log_debug("e");
        log_set_level(LOG_LEVEL_ERROR);
        log_warning("f");
        expect("<7>e\n");
}

static void test_errno(void **state) {
        (void) state;

        errno = EPERM;
        assert_int_equal(log_error_errno(-ENOENT, "open: %m"), -ENOENT);
        assert_int_equal(errno, EPERM);
        assert_int_equal(log_full(LOG_LEVEL_DEBUG, -EIO, "hidden"), -EIO);
        expect("<3>open: No such file or directory\n");
}

static void test_hostile(void **state) {
        (void) state;

        log_info("%s", "a\n<0>forged\r\033[2J\x7f");
        expect("<6>a\\x0a<0>forged\\x0d\\x1b[2J\\x7f\n");
        log_info("%s", "\xc3\xa4 \xc2\x9b \xc3 \xff \xe2\x82");
        expect("<6>\xc3\xa4 \\xc2\\x9b \\xc3 \\xff \\xe2\\x82\n");
}

static void test_bounded(void **state) {
        char text[5000], buf[8192];
        ssize_t n;

        (void) state;

        for (int c = 'x'; c >= 1; c -= 'x' - 1) {
                memset(text, c, sizeof(text) - 1);
                text[sizeof(text) - 1] = '\0';
                log_info("%s", text);
                n = read(reader, buf, sizeof(buf));
                assert_in_range(n, 1900, 2048);
                assert_memory_equal(buf, "<6>", 3);
                assert_int_equal(buf[n - 1], '\n');
        }
}

static void fill(int fd) {
        static const char zeros[4096];

        assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        while (write(fd, zeros, sizeof(zeros)) > 0)
                ;
        while (write(fd, zeros, 1) > 0)
                ;
        assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

static void drain(void) {
        char buf[65536];

        while (read(reader, buf, sizeof(buf)) > 0)
                ;
}

/* Were it to block, the test would not end. */
static void test_full(void **state) {
        (void) state;

        fill(STDERR_FILENO);
        log_error("lost 1");
        log_error("lost 2");
        drain();
        log_error("there");
        expect("<4>messages dropped while standard error was full: 2\n<3>there\n");
        log_error("again");
        expect("<3>again\n");
}

static void test_full_socket(void **state) {
        int fds[2];

        (void) state;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        reader = close_fd(reader);
        reader = fds[0];
        assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
        redirect(fds[1]);

        log_error("a");
        expect("<3>a\n");
        fill(STDERR_FILENO);
        log_error("lost");
        drain();
        log_error("there");
        expect("<4>messages dropped while standard error was full: 1\n<3>there\n");
}

/* A reader that is gone must not bring SIGPIPE. */
static void test_gone(void **state) {
        (void) state;

        reader = close_fd(reader);
        log_error("nobody");
}

static void test_terminal(void **state) {
        int master, slave;
        char buf[256];
        ssize_t n;

        (void) state;

        master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master < 0)
                skip();
        assert_int_equal(grantpt(master), 0);
        assert_int_equal(unlockpt(master), 0);
        slave = open(ptsname(master), O_RDWR | O_NOCTTY);
        assert_true(slave >= 0);

        (void) unsetenv("NO_COLOR");
        redirect(slave);
        log_error("red");
        n = read(master, buf, sizeof(buf) - 1);
        assert_true(n > 0);
        buf[n] = '\0';
        assert_string_equal(buf, "test: \033[1;31mred\033[0m\r\n");

        (void) setenv("NO_COLOR", "1", 1);
        log_setup("test", LOG_LEVEL_INFO);
        log_error("plain");
        n = read(master, buf, sizeof(buf) - 1);
        assert_true(n > 0);
        buf[n] = '\0';
        assert_string_equal(buf, "test: plain\r\n");
        (void) unsetenv("NO_COLOR");
        (void) close(master);
}

static void test_ratelimit(void **state) {
        LogRatelimit limit = LOG_RATELIMIT(10, 2);

        (void) state;

        clk_override(fake);
        now.monotonic_ns = 5 * NSEC_PER_SEC;
        assert_true(log_ratelimit(&limit));
        assert_true(log_ratelimit(&limit));
        assert_false(log_ratelimit(&limit));
        now.monotonic_ns += 10 * NSEC_PER_SEC - 1;
        assert_false(log_ratelimit(&limit));
        expect("");

        now.monotonic_ns++;
        assert_true(log_ratelimit(&limit));
        expect("<5>similar messages suppressed: 2\n");
        assert_true(log_ratelimit(&limit));
        assert_false(log_ratelimit(&limit));
}

static void test_level_parse(void **state) {
        LogLevel level = LOG_LEVEL_NOTICE;

        (void) state;

        assert_int_equal(log_level_parse("loud", &level), -EINVAL);
        assert_int_equal(log_level_parse("", &level), -EINVAL);
        assert_int_equal(log_level_parse("Error", &level), -EINVAL);
        assert_int_equal(level, LOG_LEVEL_NOTICE);
        assert_int_equal(log_level_parse("error", &level), 0);
        assert_int_equal(level, LOG_LEVEL_ERROR);
        assert_int_equal(log_level_parse("debug", &level), 0);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
                cmocka_unit_test_setup_teardown(test_errno, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full_socket, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ratelimit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_terminal, setup, teardown),
                cmocka_unit_test(test_level_parse),
                /* Last: it leaves a dropped message behind, which the next one would report. */
                cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
