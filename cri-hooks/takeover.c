#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "callpack.h"
#include "fdpass.h"
#include "handover.h"
#include "takeover.h"
#include "tappack.h"

static int send_msg(const Takeover *takeover, const HandoverMsg *msg) {
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;

        handovermsg_write(msg, &pack);
        return pack.failed ? -ENOMEM : fdpass_send(takeover->fd, pack.p, pack.n, NULL, 0);
}

/* The descriptors of a packet, closed unless taken. */
typedef struct Fds {
        int fds[FDPASS_MAX];
        size_t n;
} Fds;

static void fds_deinit(Fds *fds) {
        for (size_t i = 0; i < fds->n; i++)
                (void) close_fd(fds->fds[i]);
        fds->n = 0;
}

/* Receives a message of type @type with some descriptors. */
static int receive(const Takeover *takeover, HandoverType type, HandoverMsg *ret, Fds *ret_fds) {
        uint8_t buf[HANDOVERMSG_MAX];
        ssize_t n;
        int r;

        n = fdpass_recv(takeover->fd, buf, sizeof(buf), ret_fds->fds, &ret_fds->n);
        if (n < 0)
                return n == -EAGAIN ? -ETIMEDOUT : (int) n;
        r = handovermsg_read(buf, (size_t) n, ret);
        return r == 0 && ret->type != type ? -EPROTO : r;
}

int takeover_greet(Takeover *takeover, const char *listen_path) {
        const struct timeval timeout = { .tv_sec = TAKEOVER_TIMEOUT_S };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_free_ char *path = handover_path(listen_path);
        _cleanup_(fds_deinit) Fds fds = {};
        _cleanup_close_ int fd = -EBADF;
        pid_t pid;
        int r;

        if (!path)
                return -ENOENT;
        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                /* A name that nobody listens on, or that is not a socket of this kind. */
                return errno == ECONNREFUSED || errno == EPROTOTYPE || errno == ENOTSOCK || errno == ENOTDIR ? -ENOENT
                                                                                                             : -errno;
        pid = fdpass_peer(fd);
        if (pid < 0)
                return pid;

        takeover->fd = TAKE_FD(fd);
        r = send_msg(takeover, &(const HandoverMsg){ .type = HANDOVER_HELLO, .version = HANDOVERMSG_VERSION });
        if (r == 0)
                r = receive(takeover, HANDOVER_INFO, &takeover->info, &fds);
        if (r == 0 && takeover->info.version != HANDOVERMSG_VERSION)
                r = -EPROTONOSUPPORT;
        return r;
}

/* Reads the next record of the file. */
static int read_record(int fd, uint64_t size, uint64_t *at, uint8_t **buf, size_t *ret_n) {
        uint64_t n;
        uint8_t *p;

        if (size - *at < sizeof(n) || pread(fd, &n, sizeof(n), (off_t) *at) != (ssize_t) sizeof(n))
                return -EBADMSG;
        *at += sizeof(n);
        if (n > HANDOVERMSG_RECORD_MAX || n > size - *at)
                return -EBADMSG;
        p = realloc(*buf, (size_t) n + 1);
        if (!p)
                return -ENOMEM;
        *buf = p;
        for (uint64_t done = 0; done < n;) {
                ssize_t k = pread(fd, p + done, (size_t) (n - done), (off_t) (*at + done));

                if (k <= 0)
                        return k < 0 ? -errno : -EBADMSG;
                done += (uint64_t) k;
        }
        *at += n;
        *ret_n = (size_t) n;
        return 0;
}

static int is_stream_socket(int fd) {
        int type = 0, domain = 0;
        socklen_t size = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || type != SOCK_STREAM || domain != AF_UNIX)
                return -EBADMSG;
        return 0;
}

static int read_conns(Takeover *takeover, ConnOwner *owner, int fd, uint64_t at) {
        _cleanup_free_ uint8_t *buf = NULL;
        _cleanup_(fds_deinit) Fds fds = {};
        size_t next = 0;
        int r;

        for (uint32_t i = 0; i < takeover->state.n_conns; i++) {
                HandoverMsg msg = {};
                Unpack unpack;
                size_t n;

                if (next == fds.n) {
                        fds_deinit(&fds);
                        r = receive(takeover, HANDOVER_FDS, &msg, &fds);
                        handovermsg_deinit(&msg);
                        if (r < 0)
                                return r;
                        next = 0;
                }
                if (fds.n - next < 2)
                        return -EBADMSG;
                r = is_stream_socket(fds.fds[next]);
                if (r == 0)
                        r = is_stream_socket(fds.fds[next + 1]);
                if (r == 0)
                        r = read_record(fd, takeover->state.size, &at, &buf, &n);
                if (r < 0)
                        return r;
                unpack = unpack_make(buf, n);
                r = conn_unpack(owner, TAKE_FD(fds.fds[next]), TAKE_FD(fds.fds[next + 1]), owner->tracing, &unpack);
                if (r < 0)
                        return r;
                next += 2;
        }
        return 0;
}

int takeover_receive(Takeover *takeover, ConnOwner *owner) {
        _cleanup_free_ uint8_t *buf = NULL;
        _cleanup_(fds_deinit) Fds fds = {};
        uint64_t at = 0;
        Unpack unpack;
        size_t n;
        int r;

        r = send_msg(takeover, &(const HandoverMsg){
                                       .type = HANDOVER_START,
                                       .tap_version = owner->tracing ? TAPPACK_VERSION : 0,
                               });
        if (r == 0)
                r = receive(takeover, HANDOVER_STATE, &takeover->state, &fds);
        if (r == 0 && (fds.n != 3 || is_stream_socket(fds.fds[1]) < 0))
                r = -EBADMSG;
        if (r < 0)
                return r;
        takeover->listen_fd = TAKE_FD(fds.fds[1]);
        takeover->control_fd = TAKE_FD(fds.fds[2]);

        r = read_record(fds.fds[0], takeover->state.size, &at, &buf, &n);
        if (r < 0)
                return r;
        unpack = unpack_make(buf, n);
        r = owner->tracing ? callpack_read_calls(owner->calls, &unpack) : 0;
        if (r < 0 && r != -EBADMSG)
                return r;
        return read_conns(takeover, owner, fds.fds[0], at);
}

int takeover_commit(Takeover *takeover, ConnOwner *owner) {
        HandoverMsg msg = {};
        Fds fds = {};
        Conn *next;
        int r;

        r = send_msg(takeover, &(const HandoverMsg){ .type = HANDOVER_READY });
        if (r == 0)
                r = receive(takeover, HANDOVER_COMMIT, &msg, &fds);
        fds_deinit(&fds);
        handovermsg_deinit(&msg);
        if (r < 0)
                return r;

        counters_add(owner->calls->counters, COUNTERS_CRI, COUNTERS_CRI_TAKEN_OVER, owner->n_conns);
        for (Conn *conn = owner->conns; conn; conn = next) {
                next = conn->next;
                conn_adopt(conn);
        }
        (void) send_msg(takeover, &(const HandoverMsg){ .type = HANDOVER_DONE });
        return 0;
}

void takeover_deinit(Takeover *takeover) {
        takeover->fd = close_fd(takeover->fd);
        takeover->listen_fd = close_fd(takeover->listen_fd);
        takeover->control_fd = close_fd(takeover->control_fd);
        handovermsg_deinit(&takeover->info);
        handovermsg_deinit(&takeover->state);
}
