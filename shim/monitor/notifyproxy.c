#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "notifyfilter.h"
#include "notifyproxy.h"

#define NAME      "notify/notify.sock"
#define DRAIN_MAX 64 /* datagrams */

/* Returns false once nothing is left. */
static bool forward_one(NotifyProxy *proxy) {
        static char in[NOTIFYFILTER_MAX], out[NOTIFYFILTER_MAX]; /* touched only where something comes */
        socklen_t len = sizeof(proxy->host);
        ssize_t n;
        size_t m;

        n = recv(proxy->fd, in, sizeof(in), MSG_DONTWAIT);
        if (n < 0)
                return errno == EINTR;
        if (proxy->host.sun_path[0] == '\0')
                len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(proxy->host.sun_path + 1));

        m = notifyfilter_run(in, (size_t) n, out);
        if (m == 0)
                return true;
        if (sendto(proxy->host_fd, out, m, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *) &proxy->host, len) < 0)
                proxy->n_dropped++;
        else
                proxy->n_forwarded++;
        return true;
}

static int on_readable(LoopSource *source, _unused_ uint32_t events) {
        NotifyProxy *proxy = container_of(source, NotifyProxy, source);

        (void) forward_one(proxy);
        return 0;
}

static int set_host(NotifyProxy *proxy, const char *path) {
        size_t len = strlen(path);

        if (len == 0 || len >= sizeof(proxy->host.sun_path))
                return -EINVAL;

        proxy->host.sun_family = AF_UNIX;
        memcpy(proxy->host.sun_path, path, len + 1);
        if (path[0] == '@')
                proxy->host.sun_path[0] = '\0';
        return 0;
}

int notifyproxy_open(NotifyProxy *proxy, Loop *loop, int dir_fd, const char *host_path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int r;

        assert(proxy);
        assert(host_path);

        r = set_host(proxy, host_path);
        if (r < 0)
                return r;

        proxy->host_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        proxy->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (proxy->host_fd < 0 || proxy->fd < 0)
                return -errno;

        /* A bundle's path may be longer than an address. */
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" NAME, dir_fd);
        if (unlinkat(dir_fd, NAME, 0) < 0 && errno != ENOENT)
                return -errno;
        if (bind(proxy->fd, (struct sockaddr *) &address, sizeof(address)) < 0 || fchmodat(dir_fd, NAME, 0777, 0) < 0)
                return -errno;

        return loop_source_add(&proxy->source, loop, proxy->fd, EPOLLIN, on_readable);
}

void notifyproxy_drain(NotifyProxy *proxy) {
        if (proxy->fd < 0)
                return;
        for (unsigned i = 0; i < DRAIN_MAX && forward_one(proxy); i++)
                ;
}

void notifyproxy_close(NotifyProxy *proxy) {
        loop_source_remove(&proxy->source);
        proxy->fd = close_fd(proxy->fd);
        proxy->host_fd = close_fd(proxy->host_fd);
}
