#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "fdpass.h"
#include "util.h"

typedef union Control {
        struct cmsghdr header;
        char space[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
} Control;

int fdpass_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds) {
        Control control = {};
        struct iovec iov = { .iov_base = (void *) data, .iov_len = len };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds > FDPASS_MAX)
                return -E2BIG;
        if (n_fds > 0) {
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        }
        return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t fdpass_recv(int fd, void *buf, size_t size, int ret_fds[static FDPASS_MAX], size_t *ret_n_fds) {
        Control control;
        struct iovec iov = { .iov_base = buf, .iov_len = size };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        size_t n_fds = 0;
        ssize_t n;

        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        n_fds = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t) FDPASS_MAX);
                        memcpy(ret_fds, CMSG_DATA(c), n_fds * sizeof(int));
                }

        if (n == 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                for (size_t i = 0; i < n_fds; i++)
                        (void) close_fd(ret_fds[i]);
                return n == 0 ? -ECONNRESET : -EBADMSG;
        }
        *ret_n_fds = n_fds;
        return n;
}

pid_t fdpass_peer(int fd) {
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        return peer.uid == geteuid() && peer.pid > 0 ? peer.pid : -EPERM;
}
