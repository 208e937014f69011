#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "callpack.h"
#include "fdpass.h"
#include "handover.h"
#include "notify.h"
#include "takeover.h"
#include "tappack.h"
#include "unixsocket.h"

#define ALIVE_EACH_NS (500 * NSEC_PER_MSEC) /* while many connections are made ours */

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
        struct sockaddr_un address;
        _cleanup_free_ char *path = handover_path(listen_path);
        _cleanup_(fds_deinit) Fds fds = {};
        _cleanup_close_ int fd = -EBADF;
        pid_t pid;
        int r;

        if (!path)
                return -ENOENT;
        r = unixsocket_address(path, &address);
        if (r < 0)
                return r;
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

/* The file's content, which nobody can change or cut short any more. */
typedef struct State {
        const uint8_t *map; /* NULL: none */
        size_t size;
        size_t at; /* of the next record */
} State;

static void state_deinit(State *state) {
        if (state->map)
                (void) munmap((void *) state->map, state->size);
        state->map = NULL;
}

static int state_map(int fd, uint64_t size, State *ret) {
        const int seals = F_SEAL_SHRINK | F_SEAL_WRITE;
        struct stat st;
        void *map;
        int r;

        r = fcntl(fd, F_GET_SEALS);
        if (r < 0 || (r & seals) != seals || fstat(fd, &st) < 0 || size == 0 || (uint64_t) st.st_size != size)
                return -EBADMSG;
        map = mmap(NULL, (size_t) size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        *ret = (State){ .map = map, .size = (size_t) size };
        return 0;
}

static int state_next(State *state, Unpack *ret) {
        uint64_t n;

        if (state->size - state->at < sizeof(n))
                return -EBADMSG;
        memcpy(&n, state->map + state->at, sizeof(n));
        state->at += sizeof(n);
        if (n > HANDOVERMSG_RECORD_MAX || n > state->size - state->at)
                return -EBADMSG;
        *ret = unpack_make(state->map + state->at, (size_t) n);
        state->at += (size_t) n;
        return 0;
}

static int is_unix_socket(int fd) {
        int domain = 0;
        socklen_t size = sizeof(domain);

        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX ? 0 : -EBADMSG;
}

static int read_conns(const Takeover *takeover, ConnOwner *owner, State *state) {
        _cleanup_(fds_deinit) Fds fds = {};
        size_t next = 0;
        int r;

        for (uint32_t i = 0; i < takeover->state.n_conns; i++) {
                HandoverMsg msg = {};
                Unpack unpack;

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
                r = is_unix_socket(fds.fds[next]);
                if (r == 0)
                        r = is_unix_socket(fds.fds[next + 1]);
                if (r == 0)
                        r = state_next(state, &unpack);
                if (r < 0)
                        return r;
                r = conn_unpack(owner, TAKE_FD(fds.fds[next]), TAKE_FD(fds.fds[next + 1]), owner->tracing, &unpack);
                if (r < 0)
                        return r;
                next += 2;
        }
        return 0;
}

int takeover_receive(Takeover *takeover, ConnOwner *owner) {
        _cleanup_(state_deinit) State state = {};
        _cleanup_(fds_deinit) Fds fds = {};
        Unpack unpack;
        int r;

        r = send_msg(takeover, &(const HandoverMsg){
                                       .type = HANDOVER_START,
                                       .tap_version = owner->tracing ? TAPPACK_VERSION : 0,
                               });
        if (r == 0)
                r = receive(takeover, HANDOVER_STATE, &takeover->state, &fds);
        if (r == 0 && (fds.n != 3 || is_unix_socket(fds.fds[1]) < 0))
                r = -EBADMSG;
        if (r < 0)
                return r;
        takeover->listen_fd = TAKE_FD(fds.fds[1]);
        takeover->control_fd = TAKE_FD(fds.fds[2]);

        r = state_map(fds.fds[0], takeover->state.size, &state);
        if (r == 0)
                r = state_next(&state, &unpack);
        if (r < 0)
                return r;
        r = owner->tracing ? callpack_read_calls(owner->calls, &unpack) : 0;
        if (r < 0 && r != -EBADMSG)
                return r;
        return read_conns(takeover, owner, &state);
}

int takeover_commit(Takeover *takeover, ConnOwner *owner) {
        HandoverMsg msg = {};
        Fds fds = {};
        uint64_t alive_ns;
        Conn *next;
        int r;

        r = send_msg(takeover, &(const HandoverMsg){ .type = HANDOVER_READY });
        if (r == 0)
                r = receive(takeover, HANDOVER_COMMIT, &msg, &fds);
        fds_deinit(&fds);
        handovermsg_deinit(&msg);
        if (r < 0)
                return r;

        /* We are the main process from here on, and nobody else feeds the watchdog. */
        notify_send(NOTIFY_ALIVE);
        alive_ns = clk_monotonic();
        counters_add(owner->calls->counters, COUNTERS_CRI, COUNTERS_CRI_TAKEN_OVER, owner->n_conns);
        for (Conn *conn = owner->conns; conn; conn = next) {
                next = conn->next;
                conn_adopt(conn);
                if (clk_monotonic() - alive_ns > ALIVE_EACH_NS) {
                        notify_send(NOTIFY_ALIVE);
                        alive_ns = clk_monotonic();
                }
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
