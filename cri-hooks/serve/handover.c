#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "callpack.h"
#include "fdpass.h"
#include "handover.h"
#include "notify.h"
#include "tappack.h"

#define WRITE_MIN (256U * 1024) /* bytes of records that are written at once */
#define BACKLOG   4             /* processes that want to take over at once */

static void enter(Handover *handover, HandoverPhase phase, uint64_t timeout_ns) {
        handover->phase = phase;
        handover->since_ns = clk_monotonic();
        if (timeout_ns > 0)
                (void) loop_timer_set(&handover->timer, timeout_ns, 0);
        else
                (void) loop_timer_stop(&handover->timer);
}

static void hang_up(Handover *handover) {
        loop_source_remove(&handover->peer);
        handover->peer_fd = close_fd(handover->peer_fd);
        enter(handover, HANDOVER_IDLE, 0);
}

/* Calls @fn, which may free it, for each connection. */
static void for_each(ConnOwner *owner, void (*fn)(Conn *conn)) {
        Conn *next;

        for (Conn *conn = owner->conns; conn; conn = next) {
                next = conn->next;
                fn(conn);
        }
}

static void thaw(Conn *conn) {
        if (conn->frozen)
                conn_thaw(conn);
}

static void end_shutdown(Conn *conn) {
        conn_close(conn, TAP_END_SHUTDOWN);
}

/* The last word that the service manager takes from this process: its watchdog waits anew from here on. */
static void say_main_pid(pid_t pid) {
        notify_sendf("MAINPID=%d\n" NOTIFY_ALIVE, (int) pid);
}

/* The other did not go through with it: go on as before, as far as that is still ours. */
static void give_up(Handover *handover, int error, const char *why) {
        HandoverPhase phase = handover->phase;

        (void) log_full(LOG_LEVEL_WARNING, error, "Process %d did not take over, going on: %s: %m",
                        (int) handover->peer_pid, why);
        hang_up(handover);
        if (phase == HANDOVER_COMMITTED) {
                /* It may have read from them: what has gone then is not to be put together again. */
                say_main_pid(getpid());
                for_each(handover->owner, end_shutdown);
        } else
                for_each(handover->owner, thaw);
        handover->pause(handover, false);
}

static int send_msg(Handover *handover, const HandoverMsg *msg, const int *fds, size_t n_fds) {
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;

        handovermsg_write(msg, &pack);
        return pack.failed ? -ENOMEM : fdpass_send(handover->peer_fd, pack.p, pack.n, fds, n_fds);
}

/* Records that wait to be written to the file. */
typedef struct Records {
        int fd;
        uint64_t size; /* of the file */
        Pack pack;
} Records;

static int records_flush(Records *records) {
        int r;

        if (records->pack.failed)
                return -ENOMEM;
        r = util_write_all(records->fd, records->pack.p, records->pack.n);
        records->size += records->pack.n;
        records->pack.n = 0;
        return r;
}

/* Ends the record that began at offset @at with its length. */
static int records_end(Records *records, size_t at) {
        uint64_t n = records->pack.n - at - sizeof(n);

        if (n > HANDOVERMSG_RECORD_MAX)
                return -E2BIG;
        pack_patch(&records->pack, at, n);
        return records->pack.n >= WRITE_MIN ? records_flush(records) : 0;
}

static int write_records(Records *records, const ConnOwner *owner) {
        size_t at = 0;
        int r;

        /* What is another's then is found by its file. */
        (void) calls_show(owner->calls, /* all= */ true);
        pack_number(&records->pack, 0);
        callpack_write_calls(owner->calls, &records->pack);
        r = records_end(records, at);
        for (const Conn *conn = owner->conns; conn && r == 0; conn = conn->next) {
                at = records->pack.n;
                pack_number(&records->pack, 0);
                conn_pack(conn, &records->pack);
                r = records_end(records, at);
        }
        return r < 0 ? r : records_flush(records);
}

static int write_state(const ConnOwner *owner, int fd, uint64_t *ret_size) {
        Records records = { .fd = fd, .pack = PACK_NULL };
        int r;

        r = write_records(&records, owner);
        *ret_size = records.size;
        pack_deinit(&records.pack);
        /* Who maps it must not have it changed or cut short. */
        if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                r = -errno;
        return r;
}

static int send_fds(Handover *handover) {
        const Conn *conn = handover->owner->conns;
        int fds[FDPASS_MAX];

        while (conn) {
                size_t n = 0;
                int r;

                for (; conn && n + 2 <= FDPASS_MAX; conn = conn->next) {
                        fds[n++] = conn->client.fd;
                        fds[n++] = conn->runtime.fd;
                }
                r = send_msg(handover, &(const HandoverMsg){ .type = HANDOVER_FDS }, fds, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* All is frozen. */
static int send_state(Handover *handover) {
        _cleanup_close_ int fd = -EBADF;
        HandoverMsg msg = {
                .type = HANDOVER_STATE,
                .n_conns = (uint32_t) handover->owner->n_conns,
                .owns_path = handover->owns_path,
                .dev = handover->listen_file.dev,
                .ino = handover->listen_file.ino,
        };
        int r;

        /* What is left to do about calls that are over belongs to the map. */
        calls_set_now(handover->owner->calls);
        calls_settle(handover->owner->calls);
        calls_flush(handover->owner->calls);

        fd = memfd_create("podspan-cri", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = write_state(handover->owner, fd, &msg.size);
        if (r == 0)
                r = send_msg(handover, &msg, (const int[]){ fd, handover->listen_fd, handover->control_fd }, 3);
        if (r == 0)
                r = send_fds(handover);
        return r;
}

static bool all_ready(const ConnOwner *owner) {
        for (const Conn *conn = owner->conns; owner->tracing && conn; conn = conn->next)
                if (!tappack_ready(&conn->tap))
                        return false;
        return true;
}

/* Freezes what can be. Is that all? */
static bool freeze(Handover *handover, bool force) {
        bool all = true;

        calls_set_now(handover->owner->calls);
        for (Conn *conn = handover->owner->conns; conn; conn = conn->next) {
                all = conn_freeze(conn, force) && all;
                if (!handover->with_taps && handover->owner->tracing && conn->frozen && !conn->tap.plain)
                        conn->as_plain = true;
        }
        return all;
}

static void settle(Handover *handover) {
        uint64_t waited = clk_monotonic() - handover->since_ns;
        int r;

        if (handover->phase == HANDOVER_SETTLING) {
                if (!all_ready(handover->owner) && waited < HANDOVER_SETTLE_NS) {
                        (void) loop_timer_set(&handover->timer, HANDOVER_POLL_NS, 0);
                        return;
                }
                /* The timer of the watchdog has to share the loop with what comes now. */
                notify_send(NOTIFY_ALIVE);
                handover->pause(handover, true);
                enter(handover, HANDOVER_FORCING, HANDOVER_POLL_NS);
                waited = 0;
        }
        if (!freeze(handover, waited >= HANDOVER_FORCE_NS)) {
                (void) loop_timer_set(&handover->timer, HANDOVER_POLL_NS, 0);
                return;
        }

        r = send_state(handover);
        if (r < 0)
                give_up(handover, r, "Cannot hand over the state");
        else
                enter(handover, HANDOVER_SENT, HANDOVER_TAKE_NS + handover->owner->n_conns * HANDOVER_CONN_NS);
}

static void commit(Handover *handover) {
        int r;

        /* Only the main process may say who that is. */
        say_main_pid(handover->peer_pid);
        r = send_msg(handover, &(const HandoverMsg){ .type = HANDOVER_COMMIT }, NULL, 0);
        if (r < 0) {
                say_main_pid(getpid());
                give_up(handover, r, "Cannot tell it to begin");
        } else
                enter(handover, HANDOVER_COMMITTED, HANDOVER_DONE_NS);
}

static void finish(Handover *handover) {
        log_info("Process %d has taken over %zu connections", (int) handover->peer_pid, handover->owner->n_conns);
        for_each(handover->owner, conn_drop);
        /* The socket is the other's. */
        handover->control_path = (free(handover->control_path), NULL);
        hang_up(handover);
        handover->done(handover);
}

static void greet(Handover *handover, const HandoverMsg *msg) {
        int r;

        handover->info.type = HANDOVER_INFO;
        handover->info.version = HANDOVERMSG_VERSION;
        r = send_msg(handover, &handover->info, NULL, 0);
        if (r == 0 && msg->version != HANDOVERMSG_VERSION)
                r = -EPROTONOSUPPORT;
        if (r < 0)
                give_up(handover, r, "Its greeting");
        else
                enter(handover, HANDOVER_GREETED, HANDOVER_GREET_NS);
}

static void take_msg(Handover *handover, const HandoverMsg *msg) {
        static const HandoverType expected[] = {
                [HANDOVER_GREETING] = HANDOVER_HELLO,
                [HANDOVER_GREETED] = HANDOVER_START,
                [HANDOVER_SENT] = HANDOVER_READY,
                [HANDOVER_COMMITTED] = HANDOVER_DONE,
        };

        if (msg->type != expected[handover->phase]) {
                give_up(handover, -EPROTO, "It speaks out of turn");
                return;
        }
        switch (msg->type) {
        case HANDOVER_HELLO:
                greet(handover, msg);
                break;
        case HANDOVER_START:
                notify_send(NOTIFY_ALIVE);
                handover->with_taps = msg->tap_version == TAPPACK_VERSION;
                enter(handover, HANDOVER_SETTLING, 0);
                settle(handover);
                break;
        case HANDOVER_READY:
                commit(handover);
                break;
        default:
                finish(handover);
                break;
        }
}

static int on_peer(LoopSource *source, uint32_t events _unused_) {
        Handover *handover = container_of(source, Handover, peer);
        _cleanup_(handovermsg_deinit) HandoverMsg msg = {};
        uint8_t buf[HANDOVERMSG_MAX];
        int fds[FDPASS_MAX], r;
        size_t n_fds;
        ssize_t n;

        n = fdpass_recv(handover->peer_fd, buf, sizeof(buf), fds, &n_fds);
        if (n == -EAGAIN || n == -EINTR)
                return 0;
        if (n < 0) {
                give_up(handover, (int) n, "It is gone");
                return 0;
        }
        for (size_t i = 0; i < n_fds; i++)
                (void) close_fd(fds[i]);
        r = n_fds > 0 ? -EBADMSG : handovermsg_read(buf, (size_t) n, &msg);
        if (r < 0)
                give_up(handover, r, "Cannot understand it");
        else
                take_msg(handover, &msg);
        return 0;
}

static int on_timer(LoopTimer *timer) {
        Handover *handover = container_of(timer, Handover, timer);

        switch (handover->phase) {
        case HANDOVER_IDLE:
                break;
        case HANDOVER_SETTLING:
        case HANDOVER_FORCING:
                settle(handover);
                break;
        case HANDOVER_COMMITTED:
                /* It has everything; what it makes of it is not ours to see. */
                finish(handover);
                break;
        default:
                give_up(handover, -ETIMEDOUT, "It is silent");
                break;
        }
        return 0;
}

static int on_control(LoopSource *source, uint32_t events _unused_) {
        Handover *handover = container_of(source, Handover, control);
        _cleanup_close_ int fd = -EBADF;
        pid_t pid;
        int r;

        fd = accept4(handover->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return 0;
        pid = fdpass_peer(fd);
        /* One at a time. */
        if (pid < 0 || handover->phase != HANDOVER_IDLE)
                return 0;
        r = loop_source_add(&handover->peer, handover->owner->loop, fd, EPOLLIN, on_peer);
        if (r < 0)
                return 0;
        handover->peer_fd = TAKE_FD(fd);
        handover->peer_pid = pid;
        enter(handover, HANDOVER_GREETING, HANDOVER_GREET_NS);
        return 0;
}

char *handover_path(const char *listen_path) {
        char *path;

        if (!listen_path ||
            strlen(listen_path) + strlen(HANDOVER_SUFFIX) >= sizeof(((struct sockaddr_un *) NULL)->sun_path) ||
            asprintf(&path, "%s" HANDOVER_SUFFIX, listen_path) < 0)
                return NULL;
        return path;
}

/* The name is only for processes that want to take over, and one that listens there was asked before. */
static int listen_at(const char *path) {
        struct sockaddr_un address;
        struct stat st;
        int r;

        r = unixsocket_address(path, &address);
        if (r < 0)
                return r;
        if (lstat(path, &st) == 0 && (!S_ISSOCK(st.st_mode) || unlink(path) < 0))
                return -EEXIST;
        return unixsocket_listen(&address, SOCK_SEQPACKET, BACKLOG);
}

int handover_init(Handover *handover, const char *listen_path, int consume_control_fd) {
        int r;

        handover->control_fd = consume_control_fd;
        handover->control_path = handover_path(listen_path);
        if (!handover->control_path)
                return -ENAMETOOLONG;
        if (handover->control_fd < 0) {
                handover->control_fd = listen_at(handover->control_path);
                if (handover->control_fd < 0)
                        return handover->control_fd;
        }
        (void) unixsocket_file(handover->control_path, &handover->control_file);
        r = loop_timer_add(&handover->timer, handover->owner->loop, on_timer);
        if (r < 0)
                return r;
        return loop_source_add(&handover->control, handover->owner->loop, handover->control_fd, EPOLLIN, on_control);
}

void handover_deinit(Handover *handover) {
        loop_source_remove(&handover->peer);
        handover->peer_fd = close_fd(handover->peer_fd);
        loop_source_remove(&handover->control);
        handover->control_fd = close_fd(handover->control_fd);
        if (handover->control_path)
                unixsocket_remove(handover->control_path, &handover->control_file);
        handover->control_path = (free(handover->control_path), NULL);
        loop_timer_remove(&handover->timer);
}
