#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "callpack.h"
#include "conn.h"
#include "tappack.h"

static ConnEnd *other(Conn *conn, const ConnEnd *end) {
        return end == &conn->client ? &conn->runtime : &conn->client;
}

static void ended(Conn *conn, const ConnEnd *end) {
        if (conn->ended)
                return;
        conn->ended = true;
        conn->how = end == &conn->client ? TAP_END_CONNECTION_CLIENT : TAP_END_CONNECTION_RUNTIME;
}

/* Keeps what was not taken. Without memory nothing of the stream can follow: the connection is over. */
static void keep(Conn *conn, ConnEnd *to, const struct iovec *iov, unsigned n_iov, size_t skip) {
        size_t n = 0;
        uint8_t *p;

        for (unsigned i = 0; i < n_iov; i++)
                n += iov[i].iov_len;
        n -= skip;
        if (n == 0)
                return;

        p = realloc(to->out, to->n_out + n);
        if (!p) {
                if (!conn->client.broken || !conn->runtime.broken)
                        counters_add(conn->owner->calls->counters, COUNTERS_CRI, COUNTERS_CRI_CLOSED, 1);
                conn->client.broken = conn->runtime.broken = true;
                conn->client.eof = conn->runtime.eof = true;
                return;
        }
        to->out = p;
        conn->owner->n_kept += n;
        for (unsigned i = 0; i < n_iov; i++) {
                size_t drop = MIN(skip, iov[i].iov_len);

                skip -= drop;
                if (iov[i].iov_len == drop)
                        continue;
                memcpy(to->out + to->n_out, (const uint8_t *) iov[i].iov_base + drop, iov[i].iov_len - drop);
                to->n_out += (uint32_t) (iov[i].iov_len - drop);
        }
}

static void send_to(Conn *conn, ConnEnd *to, const struct iovec *iov, unsigned n_iov) {
        struct msghdr msg = { .msg_iov = (struct iovec *) iov, .msg_iovlen = n_iov };
        ssize_t n = 0;

        if (to->broken || (iov[0].iov_len == 0 && (n_iov < 2 || iov[1].iov_len == 0)))
                return;

        if (to->n_out == 0) {
                /* Nearly always it is one piece, for which send() is the shorter way. */
                if (n_iov < 2 || iov[1].iov_len == 0)
                        n = send(to->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
                else
                        n = sendmsg(to->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0) {
                        if (errno != EAGAIN && errno != EINTR) {
                                /* What it sent before is still to be read. */
                                to->broken = true;
                                ended(conn, to);
                                return;
                        }
                        n = 0;
                }
        }
        keep(conn, to, iov, n_iov, (size_t) n);
}

static void drop_kept(Conn *conn, ConnEnd *end) {
        conn->owner->n_kept -= end->n_out;
        end->out = (free(end->out), NULL);
        end->n_out = end->out_off = 0;
}

static void flush(Conn *conn, ConnEnd *end) {
        ssize_t n;

        if (end->n_out == 0 || end->broken)
                return;

        n = send(end->fd, end->out + end->out_off, end->n_out - end->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
                if (errno == EAGAIN || errno == EINTR)
                        return;
                end->broken = true;
                ended(conn, end);
        } else
                end->out_off += (uint32_t) n;

        if (end->broken || end->out_off == end->n_out)
                drop_kept(conn, end);
}

static void release(Conn *conn, uint64_t since_ns) {
        struct iovec iov[HOLD_IOV];

        tap_release(&conn->tap, since_ns, iov);
        send_to(conn, &conn->runtime, iov, HOLD_IOV);
        tap_request_done(&conn->tap);
}

static void release_end(Conn *conn) {
        struct iovec iov[HOLD_IOV];

        tap_release_end(&conn->tap, iov);
        send_to(conn, &conn->runtime, iov, HOLD_IOV);
        tap_request_done(&conn->tap);
}

static void note_waiting(Conn *conn) {
        bool waiting = conn->owner->tracing && tap_waits(&conn->tap);

        if (waiting == conn->waiting)
                return;
        conn->waiting = waiting;
        if (!waiting)
                conn->owner->n_waiting--;
        else if (conn->owner->n_waiting++ == 0)
                conn->owner->wait(conn->owner);
}

static void receive(Conn *conn, ConnEnd *from) {
        ConnOwner *owner = conn->owner;
        ConnEnd *to = other(conn, from);
        struct iovec iov[HOLD_IOV] = {};
        ssize_t n;

        n = recv(from->fd, owner->scratch, owner->n_kept < CONN_KEPT_MAX ? sizeof(owner->scratch) : CONN_READ_MIN,
                 MSG_DONTWAIT);
        if (n < 0) {
                if (errno == EAGAIN || errno == EINTR)
                        return;
                from->hup = true;
                n = 0;
        }
        if (n == 0) {
                from->eof = true;
                ended(conn, from);
                calls_set_now(owner->calls);
                if (owner->tracing && from == &conn->client)
                        release_end(conn);
                return;
        }

        if (!owner->tracing) {
                iov[0] = (struct iovec){ .iov_base = owner->scratch, .iov_len = (size_t) n };
                send_to(conn, to, iov, 1);
        } else if (from == &conn->client) {
                calls_set_now(owner->calls);
                conn->tap.now_ns = owner->calls->now.monotonic_ns;
                tap_request(&conn->tap, owner->scratch, (size_t) n, iov);
                send_to(conn, to, iov, HOLD_IOV);
                tap_request_done(&conn->tap);
        } else {
                /* Nothing changes in this direction: first on with it, then a look. */
                iov[0] = (struct iovec){ .iov_base = owner->scratch, .iov_len = (size_t) n };
                /* Before: our span must not outlast the client's. */
                calls_set_now(owner->calls);
                send_to(conn, to, iov, 1);
                tap_reply(&conn->tap, owner->scratch, (size_t) n);
                /* A call that waited may have been ended by this: what it held back goes on. */
                if (conn->tap.plain ? tap_waits(&conn->tap) : conn->waiting)
                        release(conn, /* since_ns= */ 0);
        }
}

static bool finished(const ConnEnd *end, const ConnEnd *peer) {
        return end->eof && (end->hup || end->broken || peer->eof) && (peer->n_out == 0 || peer->broken) &&
               (!peer->eof || end->n_out == 0 || end->broken);
}

static int on_client(LoopSource *source, uint32_t events);
static int on_runtime(LoopSource *source, uint32_t events);

static int update_end(Conn *conn, ConnEnd *end) {
        const ConnEnd *peer = other(conn, end);
        uint32_t mask = 0;

        if (!end->eof && peer->n_out == 0 && !peer->broken)
                mask |= EPOLLIN;
        if (end->n_out > 0 && !end->broken)
                mask |= EPOLLOUT;

        /* EPOLLHUP cannot be masked: where there is nothing to do about it, out of the loop. */
        if (mask == 0 && end->hup) {
                loop_source_remove(&end->source);
                return 0;
        }
        if (!end->source.loop)
                return loop_source_add(&end->source, conn->owner->loop, end->fd, mask,
                                       end == &conn->client ? on_client : on_runtime);
        return loop_source_set(&end->source, mask);
}

static void set_tap_memory(Conn *conn, size_t n) {
        conn->owner->n_taps += n - conn->n_tap;
        conn->n_tap = n;
}

/* What the tap has of the memory; no more than all may have, and who has least keeps it. */
static void note_memory(Conn *conn) {
        ConnOwner *owner = conn->owner;

        if (!owner->tracing)
                return;
        set_tap_memory(conn, conn->tap.plain ? 0 : tap_memory(&conn->tap));
        if (owner->n_taps <= CONN_TAPS_MAX || conn->n_tap == 0 || conn->n_tap < owner->n_taps / owner->n_conns)
                return;
        calls_set_now(owner->calls);
        tap_degrade(&conn->tap, -ENOBUFS);
        release(conn, /* since_ns= */ 0);
        set_tap_memory(conn, 0);
}

/* After anything has happened. May free @conn. */
static void update(Conn *conn) {
        ConnEnd *client = &conn->client, *runtime = &conn->runtime;

        note_memory(conn);

        if (finished(client, runtime) || finished(runtime, client)) {
                conn_close(conn, conn->how);
                return;
        }

        for (unsigned i = 0; i < 2; i++) {
                ConnEnd *from = i == 0 ? client : runtime, *to = other(conn, from);

                if (from->eof && to->n_out == 0 && !to->shut && !to->broken) {
                        (void) shutdown(to->fd, SHUT_WR);
                        to->shut = true;
                }
        }

        note_waiting(conn);
        if (update_end(conn, client) < 0 || update_end(conn, runtime) < 0)
                conn_close(conn, conn->how);
}

static void handle(Conn *conn, ConnEnd *end, uint32_t events) {
        const ConnEnd *peer = other(conn, end);

        if (events & EPOLLOUT)
                flush(conn, end);
        if (events & (EPOLLHUP | EPOLLERR))
                end->hup = true;
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !end->eof && peer->n_out == 0 && !peer->broken)
                receive(conn, end);
        update(conn);
}

static int on_client(LoopSource *source, uint32_t events) {
        Conn *conn = container_of(source, Conn, client.source);

        handle(conn, &conn->client, events);
        return 0;
}

static int on_runtime(LoopSource *source, uint32_t events) {
        Conn *conn = container_of(source, Conn, runtime.source);

        handle(conn, &conn->runtime, events);
        return 0;
}

static int make(ConnOwner *owner, int consume_client, int consume_runtime, Conn **ret) {
        _cleanup_close_ int client = consume_client, runtime = consume_runtime;
        Conn *conn;

        conn = malloc(sizeof(*conn));
        if (!conn)
                return -ENOMEM;
        *conn = (Conn){
                .owner = owner,
                .client = { .source = LOOP_SOURCE_NULL, .fd = TAKE_FD(client) },
                .runtime = { .source = LOOP_SOURCE_NULL, .fd = TAKE_FD(runtime) },
                .how = TAP_END_SHUTDOWN,
        };
        if (owner->tracing)
                tap_init(&conn->tap, &calls_tap_ops, owner->calls, calls_may_inject(owner->calls));

        conn->next = owner->conns;
        if (conn->next)
                conn->next->prev = conn;
        owner->conns = conn;
        owner->n_conns++;
        *ret = conn;
        return 0;
}

int conn_new(ConnOwner *owner, int consume_client, int consume_runtime) {
        Conn *conn;
        int r;

        r = make(owner, consume_client, consume_runtime, &conn);
        if (r < 0)
                return r;
        r = loop_source_add(&conn->client.source, owner->loop, conn->client.fd, EPOLLIN, on_client);
        if (r >= 0)
                r = loop_source_add(&conn->runtime.source, owner->loop, conn->runtime.fd, EPOLLIN, on_runtime);
        if (r < 0) {
                conn_close(conn, TAP_END_SHUTDOWN);
                return r;
        }
        return 0;
}

static void end_deinit(Conn *conn, ConnEnd *end) {
        loop_source_remove(&end->source);
        end->fd = close_fd(end->fd);
        drop_kept(conn, end);
}

void conn_close(Conn *conn, TapEnd how) {
        ConnOwner *owner = conn->owner;

        /* First the sockets: who waits at them need not wait for us. */
        end_deinit(conn, &conn->client);
        end_deinit(conn, &conn->runtime);
        calls_set_now(owner->calls);
        if (owner->tracing)
                tap_deinit(&conn->tap, how);

        if (conn->waiting)
                owner->n_waiting--;
        set_tap_memory(conn, 0);
        *(conn->prev ? &conn->prev->next : &owner->conns) = conn->next;
        if (conn->next)
                conn->next->prev = conn->prev;
        owner->n_conns--;
        free(conn);
        if (owner->closed)
                owner->closed(owner);
}

uint64_t conn_release_due(ConnOwner *owner) {
        uint64_t first = UINT64_MAX, now, since;
        Conn *next;

        calls_set_now(owner->calls);
        now = owner->calls->now.monotonic_ns;
        since = now > CONN_WAIT_NS ? now - CONN_WAIT_NS : 0;
        for (Conn *conn = owner->conns; conn && owner->n_waiting > 0; conn = next) {
                next = conn->next;
                if (!conn->waiting)
                        continue;
                if (tap_waits_since(&conn->tap) <= since) {
                        release(conn, since);
                        if (tap_waits(&conn->tap))
                                first = MIN(first, tap_waits_since(&conn->tap));
                        update(conn);
                } else
                        first = MIN(first, tap_waits_since(&conn->tap));
        }
        return first == UINT64_MAX ? 0 : first - since;
}

bool conn_freeze(Conn *conn, bool force) {
        if (conn->frozen)
                return true;
        if (conn->owner->tracing && !tappack_ready(&conn->tap)) {
                if (!force)
                        return false;
                /* A call that waits is decided as it is; an open header block cannot be handed on. */
                release(conn, UINT64_MAX);
                conn->as_plain = !tappack_ready(&conn->tap);
        }
        if (conn->owner->tracing && conn->tap.plain && tap_waits(&conn->tap))
                release(conn, /* since_ns= */ 0);
        note_waiting(conn);
        loop_source_remove(&conn->client.source);
        loop_source_remove(&conn->runtime.source);
        conn->frozen = true;
        return true;
}

void conn_thaw(Conn *conn) {
        conn->frozen = conn->as_plain = false;
        update(conn);
}

static void pack_end(const ConnEnd *end, Pack *pack) {
        pack_number(pack, end->eof);
        pack_number(pack, end->hup);
        pack_number(pack, end->broken);
        pack_number(pack, end->shut);
        pack_bytes(pack, end->out + end->out_off, end->n_out - end->out_off);
}

void conn_pack(const Conn *conn, Pack *pack) {
        bool plain = !conn->owner->tracing || conn->tap.plain || conn->as_plain;
        size_t at, n_held = conn->owner->tracing ? hold_kept(&conn->tap.hold) : 0;

        pack_end(&conn->client, pack);
        pack_end(&conn->runtime, pack);
        pack_number(pack, conn->ended);
        pack_number(pack, conn->how);
        pack_bytes(pack, conn->tap.hold.p, n_held);
        pack_number(pack, plain);

        /* The length, so that who does not know what it is can go on behind it. */
        at = pack->n;
        pack_number(pack, 0);
        if (!plain)
                tappack_write(&conn->tap, pack, callpack_write);
        pack_patch(pack, at, pack->n - at - sizeof(uint64_t));
}

static void unpack_end(Conn *conn, ConnEnd *end, Unpack *unpack) {
        struct iovec iov;

        end->eof = unpack_bool(unpack);
        end->hup = unpack_bool(unpack);
        end->broken = unpack_bool(unpack);
        end->shut = unpack_bool(unpack);
        iov.iov_base = (void *) unpack_bytes(unpack, CONN_OUT_MAX, &iov.iov_len);
        keep(conn, end, &iov, 1, 0);
}

/* The tap as it was, or plain forwarding with what was kept back as what is to be sent next. */
static void unpack_tap(Conn *conn, bool plain, const uint8_t *tap, size_t n_tap, const uint8_t *held, size_t n_held) {
        Unpack unpack = unpack_make(tap, n_tap);
        int r = 0;

        if (conn->owner->tracing && !plain) {
                r = n_tap == 0 ? -EPROTO : tappack_read(&conn->tap, &unpack, held, n_held, callpack_read);
                if (r == 0) {
                        tap_set_inject(&conn->tap, calls_may_inject(conn->owner->calls));
                        return;
                }
                tap_degrade(&conn->tap, r);
        }
        conn->tap.plain = true;
        hold_deinit(&conn->tap.hold);
        keep(conn, &conn->runtime, &(const struct iovec){ .iov_base = (void *) held, .iov_len = n_held }, 1, 0);
}

int conn_unpack(ConnOwner *owner, int consume_client, int consume_runtime, bool with_tap, Unpack *unpack) {
        const uint8_t *held, *tap;
        size_t n_held, n_tap;
        bool plain;
        Conn *conn;
        int r;

        r = make(owner, consume_client, consume_runtime, &conn);
        if (r < 0)
                return r;
        conn->frozen = true;
        unpack_end(conn, &conn->client, unpack);
        unpack_end(conn, &conn->runtime, unpack);
        conn->ended = unpack_bool(unpack);
        conn->how = (TapEnd) unpack_number(unpack, TAP_END_UNTRACKED);
        held = unpack_bytes(unpack, CONN_OUT_MAX, &n_held);
        plain = unpack_bool(unpack);
        tap = unpack_bytes(unpack, SIZE_MAX, &n_tap);
        r = unpack_result(unpack);
        if (r < 0) {
                conn_drop(conn);
                return r;
        }
        unpack_tap(conn, plain, tap, with_tap ? n_tap : 0, held, n_held);
        return 0;
}

static void adopt_call(TapStream *stream, void *userdata _unused_) {
        callpack_adopt(stream);
}

void conn_adopt(Conn *conn) {
        tap_each(&conn->tap, adopt_call, NULL);
        conn_thaw(conn);
}

static void end_nothing(Tap *tap _unused_, TapStream *stream, TapEnd how _unused_, const TapHeaders *headers _unused_,
                        uint32_t error _unused_) {
        callpack_drop(stream);
}

void conn_drop(Conn *conn) {
        static const TapOps gone = { .end = end_nothing };

        if (conn->as_plain) {
                calls_set_now(conn->owner->calls);
                tap_degrade(&conn->tap, -ETIMEDOUT);
        } else
                conn->tap.ops = &gone;
        conn_close(conn, TAP_END_UNTRACKED);
}

void conn_set_inject(ConnOwner *owner) {
        for (Conn *conn = owner->conns; owner->tracing && conn; conn = conn->next)
                tap_set_inject(&conn->tap, calls_may_inject(owner->calls));
}

void conn_tick_all(ConnOwner *owner) {
        if (!owner->tracing)
                return;
        calls_set_now(owner->calls);
        for (Conn *conn = owner->conns; conn; conn = conn->next)
                if (!conn->frozen)
                        tap_tick(&conn->tap);
}
