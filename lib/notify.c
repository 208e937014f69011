#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "notify.h"
#include "util.h"

#define LISTEN_FDS_START 3

void notify_send(const char *state) {
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        size_t n;

        if (!path || (path[0] != '/' && path[0] != '@') || !path[1])
                return;
        n = strlen(path);
        if (n >= sizeof(address.sun_path))
                return;
        memcpy(address.sun_path, path, n);
        /* An abstract socket, whose name has no NUL at its end but one at its beginning. */
        if (path[0] == '@')
                address.sun_path[0] = 0;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        (void) sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *) &address,
                      (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n));
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
