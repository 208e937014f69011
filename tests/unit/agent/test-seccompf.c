#include "fixture.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include "../child.h"
#include "seccompf.h"

/* What a thread that was there before sees of itself: 0 if the filter is on. */
static void *look(void *userdata) {
        char status[8192], path[64];
        int *pipe_fds = userdata;
        ssize_t n;
        char c;
        int fd;

        if (read(pipe_fds[0], &c, 1) != 1)
                return (void *) 1;
        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/status", gettid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, status, sizeof(status) - 1);
        if (n <= 0)
                return (void *) 2;
        status[n] = '\0';
        return strstr(status, "\nSeccomp:\t2\n") && strstr(status, "\nNoNewPrivs:\t1\n") ? NULL : (void *) 3;
}

static int child_filtered(void) {
        pthread_t thread;
        int pipe_fds[2], fd;
        void *result;

        if (pipe(pipe_fds) < 0 || pthread_create(&thread, NULL, look, pipe_fds) != 0)
                return 10;
        if (seccompf_load(false) < 0)
                return 11;
        if (write(pipe_fds[1], "x", 1) != 1 || pthread_join(thread, &result) != 0 || result)
                return 12;

        /* refused */
        if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM)
                return 13;
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM)
                return 14;
        if (socket(AF_PACKET, SOCK_RAW, 0) != -1 || errno != EPERM)
                return 15;
        if (chroot("/") != -1 || errno != EPERM)
                return 16;
        /* The network is podspan-export's. */
        if (socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EPERM || socket(AF_INET6, SOCK_DGRAM, 0) != -1 ||
            errno != EPERM)
                return 17;
        if (fork() != -1 || errno != EPERM)
                return 18;
        /* allowed */
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (fd < 0)
                return 19;
        (void) close(fd);
        return 0;
}

static int child_killed(void) {
        if (seccompf_load(true) < 0)
                return 20;
        (void) execl("/bin/true", "true", NULL);
        return 21;
}

static void filtered(void **state) {
        int status = child_run(child_filtered);

        (void) state;
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void killed(void **state) {
        int status = child_run(child_killed);

        (void) state;
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(filtered),
                cmocka_unit_test(killed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
