#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "fdpass.h"
#include "util.h"

static void make_pair(int ends[static 2]) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

static size_t count_fds(void) {
        size_t n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void same_file(int a, int b) {
        struct stat st_a, st_b;

        assert_int_equal(fstat(a, &st_a), 0);
        assert_int_equal(fstat(b, &st_b), 0);
        assert_int_equal(st_a.st_ino, st_b.st_ino);
        assert_int_equal(st_a.st_dev, st_b.st_dev);
}

/* Bytes and descriptors arrive, each descriptor another one of the same file and closed on exec. */
static void arrives(void **state _unused_) {
        static const size_t counts[] = { 0, 1, 2, FDPASS_MAX };
        int ends[2], got[FDPASS_MAX], sent[FDPASS_MAX];
        size_t before, n_fds;
        char buf[8];

        make_pair(ends);
        for (size_t i = 0; i < FDPASS_MAX; i++)
                sent[i] = ends[i % 2];
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                before = count_fds();
                n_fds = SIZE_MAX;
                assert_int_equal(fdpass_send(ends[0], "bytes", 5, sent, counts[i]), 0);
                assert_int_equal(fdpass_recv(ends[1], buf, 5, got, &n_fds), 5);
                assert_memory_equal(buf, "bytes", 5);
                assert_int_equal(n_fds, counts[i]);
                assert_int_equal(count_fds(), before + counts[i]);
                for (size_t k = 0; k < n_fds; k++) {
                        same_file(got[k], sent[k]);
                        assert_int_equal(fcntl(got[k], F_GETFD), FD_CLOEXEC);
                        close_fd(got[k]);
                }
        }
        assert_int_equal(fdpass_send(ends[0], "bytes", 5, sent, FDPASS_MAX + 1), -E2BIG);
        n_fds = 77;
        assert_int_equal(fdpass_recv(ends[1], buf, sizeof(buf), got, &n_fds), -EAGAIN);
        assert_int_equal(n_fds, 77);
        close_fd(ends[0]);
        close_fd(ends[1]);
}

/* What is longer than it may be, or has more descriptors, is refused, and no descriptor stays open. */
static void refused(void **state _unused_) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE((FDPASS_MAX + 2) * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = "b", .iov_len = 1 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
        int ends[2], got[FDPASS_MAX];
        size_t n_fds = 77, before;
        char buf[4];

        make_pair(ends);
        before = count_fds();
        assert_int_equal(fdpass_send(ends[0], "12345", 5, (int[]){ ends[0], ends[1] }, 2), 0);
        assert_int_equal(fdpass_recv(ends[1], buf, sizeof(buf), got, &n_fds), -EBADMSG);
        assert_int_equal(count_fds(), before);

        /* More than fdpass_send() sends. */
        msg.msg_controllen = sizeof(control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((FDPASS_MAX + 2) * sizeof(int));
        for (size_t i = 0; i < FDPASS_MAX + 2; i++)
                memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &ends[0], sizeof(int));
        assert_int_equal(sendmsg(ends[0], &msg, 0), 1);
        assert_int_equal(fdpass_recv(ends[1], buf, sizeof(buf), got, &n_fds), -EBADMSG);
        assert_int_equal(count_fds(), before);

        close_fd(ends[0]);
        assert_int_equal(fdpass_recv(ends[1], buf, sizeof(buf), got, &n_fds), -ECONNRESET);
        assert_int_equal(n_fds, 77);
        assert_int_equal(fdpass_send(ends[1], "b", 1, NULL, 0), -EPIPE);
        close_fd(ends[1]);
}

/* The process at the other end is told only if it is our own user's. */
static void peer(void **state _unused_) {
        int ends[2], fds[2];

        make_pair(ends);
        assert_int_equal(fdpass_peer(ends[0]), getpid());
        if (geteuid() == 0) {
                /* The kernel noted uid 0 when the pair was made. */
                assert_int_equal(seteuid(65534), 0);
                assert_int_equal(fdpass_peer(ends[0]), -EPERM);
                assert_int_equal(seteuid(0), 0);
                assert_int_equal(fdpass_peer(ends[0]), getpid());
        }
        close_fd(ends[0]);
        close_fd(ends[1]);

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(fdpass_peer(fds[0]), -ENOTSOCK);
        close_fd(fds[0]);
        close_fd(fds[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(arrives),
                cmocka_unit_test(refused),
                cmocka_unit_test(peer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
