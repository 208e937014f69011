#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "notify.h"
#include "util.h"

#define LISTEN_FDS_START 3

/* A socket for the service manager, and its address. -ENOENT without one. */
static int open_socket(struct sockaddr_un *ret_address, socklen_t *ret_size) {
        const char *path = getenv("NOTIFY_SOCKET");
        size_t n;
        int fd;

        if (!path || (path[0] != '/' && path[0] != '@') || !path[1])
                return -ENOENT;
        n = strlen(path);
        if (n >= sizeof(ret_address->sun_path))
                return -ENOENT;
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret_address->sun_path, path, n);
        /* An abstract socket, whose name has no NUL at its end but one at its beginning. */
        if (path[0] == '@')
                ret_address->sun_path[0] = 0;
        *ret_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n);

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

void notify_send(const char *state) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un address;
        socklen_t size;

        fd = open_socket(&address, &size);
        if (fd < 0)
                return;
        (void) sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *) &address, size);
}

void notify_sendf(const char *format, ...) {
        char state[NOTIFY_MAX];
        va_list args;

        va_start(args, format);
        (void) vsnprintf(state, sizeof(state), format, args);
        va_end(args);
        notify_send(state);
}

void notify_barrier(int timeout_ms) {
        static const char barrier[] = "BARRIER=1";
        _cleanup_close_ int fd = -EBADF, read_fd = -EBADF;
        struct sockaddr_un address;
        struct pollfd poll_fd;
        socklen_t size;
        int ends[2];
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {
                .header = {
                        .cmsg_len = CMSG_LEN(sizeof(int)),
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                },
        };
        struct iovec iov = { .iov_base = (char *) barrier, .iov_len = sizeof(barrier) - 1 };
        struct msghdr msg = {
                .msg_name = &address,
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n;

        fd = open_socket(&address, &size);
        if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return;
        read_fd = ends[0];
        msg.msg_namelen = size;
        memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) close_fd(ends[1]);
        if (n < 0)
                return;

        /* The other end is closed when it has been read. */
        poll_fd = (struct pollfd){ .fd = read_fd };
        (void) poll(&poll_fd, 1, timeout_ms);
}

uint64_t notify_watchdog_usec(void) {
        const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
        uint64_t n_usec, n_pid;

        if (!usec || util_parse_u64(usec, strlen(usec), &n_usec) < 0 || n_usec > UINT64_MAX / NSEC_PER_USEC)
                return 0;
        if (pid && (util_parse_u64(pid, strlen(pid), &n_pid) < 0 || n_pid != (uint64_t) getpid()))
                return 0;
        return n_usec;
}

int notify_listen_fd(void) {
        const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
        uint64_t n_pid, n_fds;
        int type = 0, listening = 0, domain = 0, flags;
        socklen_t size = sizeof(int);

        if (!pid || !fds || util_parse_u64(pid, strlen(pid), &n_pid) < 0 ||
            util_parse_u64(fds, strlen(fds), &n_fds) < 0 || n_pid != (uint64_t) getpid() || n_fds == 0)
                return -ENOENT;

        if (n_fds != 1 || getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
            getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
            getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || type != SOCK_STREAM ||
            domain != AF_UNIX || !listening)
                return -EINVAL;

        flags = fcntl(LISTEN_FDS_START, F_GETFL);
        if (flags < 0 || fcntl(LISTEN_FDS_START, F_SETFL, flags | O_NONBLOCK) < 0 ||
            fcntl(LISTEN_FDS_START, F_SETFD, FD_CLOEXEC) < 0)
                return -EINVAL;
        return LISTEN_FDS_START;
}
