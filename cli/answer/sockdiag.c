#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "clk.h"
#include "fdpass.h"
#include "sockdiag.h"

#define LISTENING 10

static void read_name(const uint8_t *data, size_t n, char ret[static SOCKDIAG_NAME_MAX + 1]) {
        bool abstract = n > 0 && data[0] == 0;

        if (abstract) {
                ret[0] = '@';
                data++;
                n--;
        }
        /* A path may come with its NUL. */
        while (!abstract && n > 0 && data[n - 1] == 0)
                n--;
        n = MIN(n, (size_t) SOCKDIAG_NAME_MAX - abstract);
        for (size_t i = 0; i < n; i++)
                ret[abstract + i] = data[i] ? (char) data[i] : '@';
        ret[abstract + n] = '\0';
}

static void read_attribute(uint16_t type, const uint8_t *data, size_t n, SockdiagSocket *ret) {
        struct unix_diag_rqlen queues;

        switch (type & NLA_TYPE_MASK) {
        case UNIX_DIAG_NAME:
                read_name(data, n, ret->name);
                break;
        case UNIX_DIAG_PEER:
                if (n >= sizeof(ret->peer))
                        memcpy(&ret->peer, data, sizeof(ret->peer));
                break;
        case UNIX_DIAG_ICONS:
                ret->waiting = data;
                ret->n_waiting = n / sizeof(uint32_t);
                break;
        case UNIX_DIAG_RQLEN:
                if (n >= sizeof(queues)) {
                        memcpy(&queues, data, sizeof(queues));
                        ret->rqueue = queues.udiag_rqueue;
                        ret->wqueue = queues.udiag_wqueue;
                }
                break;
        default:
                break;
        }
}

static int read_socket(const uint8_t *p, size_t n, SockdiagSocket *ret) {
        struct unix_diag_msg message;
        SockdiagSocket socket = {};

        if (n < sizeof(message))
                return -EBADMSG;
        memcpy(&message, p, sizeof(message));
        if (message.udiag_family != AF_UNIX)
                return -EBADMSG;
        socket.ino = message.udiag_ino;
        socket.state = message.udiag_state;
        p += sizeof(message);
        n -= sizeof(message);
        while (n >= sizeof(struct nlattr)) {
                struct nlattr attribute;
                size_t step;

                memcpy(&attribute, p, sizeof(attribute));
                if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > n)
                        return -EBADMSG;
                read_attribute(attribute.nla_type, p + sizeof(attribute), attribute.nla_len - sizeof(attribute),
                               &socket);
                step = MIN((size_t) NLA_ALIGN(attribute.nla_len), n);
                p += step;
                n -= step;
        }
        *ret = socket;
        return 1;
}

int sockdiag_next(const uint8_t **p, size_t *n, SockdiagSocket *ret) {
        while (*n >= sizeof(struct nlmsghdr)) {
                struct nlmsghdr header;
                const uint8_t *body = *p + sizeof(header);
                size_t body_n, step;
                int error;

                memcpy(&header, *p, sizeof(header));
                if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > *n)
                        return -EBADMSG;
                body_n = header.nlmsg_len - sizeof(header);
                step = MIN((size_t) NLMSG_ALIGN(header.nlmsg_len), *n);
                *p += step;
                *n -= step;
                switch (header.nlmsg_type) {
                case NLMSG_DONE:
                        return -ENODATA;
                case NLMSG_ERROR:
                        if (body_n < sizeof(error))
                                return -EBADMSG;
                        memcpy(&error, body, sizeof(error));
                        return error < 0 && error > -4096 ? error : -EBADMSG;
                case SOCK_DIAG_BY_FAMILY:
                        return read_socket(body, body_n, ret);
                default:
                        break;
                }
        }
        return *n == 0 ? 0 : -EBADMSG;
}

static int grow(void **array, size_t *n_allocated, size_t n, size_t size) {
        size_t want = *n_allocated == 0 ? 256 : 2 * *n_allocated;
        void *more;

        if (n < *n_allocated)
                return 0;
        more = reallocarray(*array, want, size);
        if (!more)
                return -ENOMEM;
        *array = more;
        *n_allocated = want;
        return 0;
}

static int keep(Sockdiag *diag, const SockdiagSocket *socket) {
        if (diag->n == SOCKDIAG_SOCKETS_MAX) {
                diag->incomplete = true;
                return 0;
        }
        if (grow((void **) &diag->sockets, &diag->n_allocated, diag->n, sizeof(*diag->sockets)) < 0)
                return -ENOMEM;
        diag->sockets[diag->n] = *socket;
        diag->sockets[diag->n].waiting = NULL;
        diag->sockets[diag->n++].n_waiting = 0;
        for (size_t i = 0; i < socket->n_waiting; i++) {
                uint32_t ino;

                if (diag->n_waiting == SOCKDIAG_QUEUE_MAX) {
                        diag->incomplete = true;
                        break;
                }
                if (grow((void **) &diag->waiting, &diag->n_waiting_allocated, diag->n_waiting,
                         sizeof(*diag->waiting)) < 0)
                        return -ENOMEM;
                memcpy(&ino, socket->waiting + i * sizeof(ino), sizeof(ino));
                diag->waiting[diag->n_waiting++] = (SockdiagWaiting){ ino, socket->ino };
        }
        return 0;
}

static int ask(int fd) {
        struct {
                struct nlmsghdr header;
                struct unix_diag_req request;
        } message = {
                .header = { .nlmsg_len = sizeof(message),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
                .request = { .sdiag_family = AF_UNIX,
                             .udiag_states = UINT32_MAX,
                             .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN },
        };

        return send(fd, &message, sizeof(message), 0) < 0 ? -errno : 0;
}

static int load(int fd, Sockdiag *diag) {
        uint64_t end_ns = clk_monotonic() + SOCKDIAG_NS;
        _cleanup_free_ uint8_t *buf = malloc(256U * 1024);
        struct timeval timeout = { .tv_usec = 200000 };
        int r;

        if (!buf)
                return -ENOMEM;
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        r = ask(fd);
        if (r < 0)
                return r;
        for (;;) {
                ssize_t n = recv(fd, buf, 256U * 1024, MSG_TRUNC);
                const uint8_t *p = buf;
                SockdiagSocket socket;
                size_t left;

                if (n < 0)
                        return -errno;
                if ((size_t) n > 256U * 1024)
                        return -EMSGSIZE;
                for (left = (size_t) n; (r = sockdiag_next(&p, &left, &socket)) > 0;)
                        if (keep(diag, &socket) < 0)
                                return -ENOMEM;
                if (r == -ENODATA)
                        return 0;
                if (r < 0)
                        return r;
                if (clk_monotonic() > end_ns) {
                        diag->incomplete = true;
                        return 0;
                }
        }
}

/* In a child: enters the namespace, and hands out a socket of it. */
typedef struct Enter {
        pid_t pid;
        int to_fd;
} Enter;

static void enter(int out _unused_, void *userdata) {
        const Enter *what = userdata;
        char path[48];
        int ns_fd, fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) what->pid);
        ns_fd = open(path, O_RDONLY | O_CLOEXEC);
        if (ns_fd < 0 || setns(ns_fd, CLONE_NEWNET) < 0)
                return;
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (fd >= 0)
                (void) fdpass_send(what->to_fd, "", 1, &fd, 1);
}

static int socket_in(Asides *asides, pid_t pid) {
        int pair[2], fds[FDPASS_MAX], r = -ENOENT;
        size_t n_fds = 0;
        Enter what;
        char byte;

        if (pid == 0) {
                int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

                return fd < 0 ? -errno : fd;
        }
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        what = (Enter){ pid, pair[1] };
        /* It writes nothing to us: the end of the child is the end of its answer. */
        if (aside_ask(asides, enter, &what, &byte, 1) >= 0 && fdpass_recv(pair[0], &byte, 1, fds, &n_fds) >= 0 &&
            n_fds == 1)
                r = fds[0];
        close_fd(pair[0]);
        close_fd(pair[1]);
        return r;
}

static int by_ino(const void *a, const void *b) {
        uint32_t x = ((const SockdiagSocket *) a)->ino, y = ((const SockdiagSocket *) b)->ino;

        return x < y ? -1 : x > y;
}

int sockdiag_load(Asides *asides, pid_t pid, Sockdiag *ret) {
        _cleanup_close_ int fd = socket_in(asides, pid);
        Sockdiag diag = SOCKDIAG_NULL;
        int r;

        if (fd < 0)
                return fd;
        r = load(fd, &diag);
        if (r < 0) {
                sockdiag_deinit(&diag);
                return r;
        }
        if (diag.n > 0)
                qsort(diag.sockets, diag.n, sizeof(*diag.sockets), by_ino);
        *ret = diag;
        return 0;
}

void sockdiag_deinit(Sockdiag *diag) {
        free(diag->sockets);
        free(diag->waiting);
        *diag = (Sockdiag) SOCKDIAG_NULL;
}

const SockdiagSocket *sockdiag_find(const Sockdiag *diag, uint64_t ino) {
        SockdiagSocket key = { .ino = (uint32_t) ino };

        return diag->n == 0 ? NULL : bsearch(&key, diag->sockets, diag->n, sizeof(key), by_ino);
}

const SockdiagSocket *sockdiag_listener_of(const Sockdiag *diag, uint64_t ino) {
        for (size_t i = 0; i < diag->n_waiting; i++)
                if (diag->waiting[i].ino == (uint32_t) ino)
                        return sockdiag_find(diag, diag->waiting[i].listener);
        return NULL;
}

const SockdiagSocket *sockdiag_listener(const Sockdiag *diag, const char *name) {
        for (size_t i = 0; i < diag->n; i++)
                if (diag->sockets[i].state == LISTENING && strcmp(diag->sockets[i].name, name) == 0)
                        return &diag->sockets[i];
        return NULL;
}
