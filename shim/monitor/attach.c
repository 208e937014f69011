#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "attach.h"
#include "backlog.h"

#define LISTEN_MAX  10
#define PACKETS_MAX 16 /* sent by one system call */

typedef struct Client {
        LoopSource source;
        Attach *attach;
        struct Client *next;
        int fd;
        bool reads;           /* takes output */
        bool writes;          /* may send input */
        BacklogMark mark;     /* the output it does not have yet */
        size_t sent;          /* of what is being written */
        uint64_t progress_ns; /* when it last took something, or fell behind */
        AttachRecord record;
} Client;

struct Attach {
        Loop *loop;
        AttachOptions options;
        AttachHooks hooks;
        LoopSource listener;
        int listen_fd;
        Client *clients;
        unsigned n_clients;

        Backlog backlog;
        bool full;  /* the backlog: nothing more is to be written */
        bool ended; /* nothing more will be */
        LoopTimer patience;

        LoopSource stdin_source;
        int stdin_fd;
        bool stdin_expected; /* not there yet */
        uint8_t *input;      /* of one packet, ATTACH_INPUT_MAX bytes */
        size_t n_input;
        size_t input_at;
};

static int on_client(LoopSource *source, uint32_t events);
static int on_stdin(LoopSource *source, uint32_t events);
static void update_clients(Attach *attach);

static void client_free(Client *client) {
        Attach *attach = client->attach;

        for (Client **p = &attach->clients; *p; p = &(*p)->next)
                if (*p == client) {
                        *p = client->next;
                        attach->n_clients--;
                        break;
                }

        loop_source_remove(&client->source);
        (void) close_fd(client->fd);
        client->record.bytes_dropped += backlog_left(&client->mark);
        backlog_leave(&attach->backlog, &client->mark);
        client->record.duration_ns = clk_monotonic() - client->record.start.monotonic_ns;
        if (attach->hooks.ended)
                attach->hooks.ended(attach->hooks.userdata, &client->record);
        free(client);
}

static void client_stop_reading(Client *client) {
        client->record.bytes_dropped += backlog_left(&client->mark);
        backlog_leave(&client->attach->backlog, &client->mark);
        client->reads = false;
        (void) shutdown(client->fd, SHUT_WR);
}

static void give_up(Client *client) {
        client->record.stalled = true;
        client_stop_reading(client);
}

/* Sends packets. Returns the number of bytes that are on their way, of the first parts; what fails costs this client
 * only. */
static size_t client_send(Client *client, const BacklogPart *parts, size_t n) {
        struct mmsghdr packets[PACKETS_MAX] = {};
        struct iovec pieces[PACKETS_MAX][2];
        size_t sent = 0;
        int r;

        for (size_t i = 0; i < n; i++) {
                pieces[i][0] = (struct iovec){ .iov_base = (void *) &parts[i].stream, .iov_len = 1 };
                pieces[i][1] = (struct iovec){ .iov_base = (void *) parts[i].data, .iov_len = parts[i].n };
                packets[i].msg_hdr = (struct msghdr){ .msg_iov = pieces[i], .msg_iovlen = 2 };
        }

        do
                r = sendmmsg(client->fd, packets, (unsigned) n, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (r < 0 && errno == EINTR);
        if (r < 0) {
                if (errno != EAGAIN && errno != ENOBUFS)
                        client_stop_reading(client);
                return 0;
        }

        for (int i = 0; i < r; i++)
                sent += parts[i].n;
        client->record.bytes_out += sent;
        client->progress_ns = clk_monotonic();
        return sent;
}

/* Sends what it can of the backlog. */
static void client_catch_up(Client *client) {
        BacklogPart parts[PACKETS_MAX];
        size_t n, sent;

        while (client->reads && (n = backlog_peek(&client->mark, PACKETS_MAX, ATTACH_PACKET_MAX, parts)) > 0) {
                sent = client_send(client, parts, n);
                if (sent == 0)
                        return;
                backlog_advance(&client->attach->backlog, &client->mark, sent);
        }
}

/* Sends what it can of bytes that are not in the backlog. */
static void client_send_new(Client *client, uint8_t stream, const uint8_t *data, size_t n) {
        client->sent = 0;
        while (client->reads && client->sent < n) {
                BacklogPart parts[PACKETS_MAX];
                size_t n_parts = 0, sent;

                for (size_t at = client->sent; n_parts < PACKETS_MAX && at < n; at += parts[n_parts++].n)
                        parts[n_parts] = (BacklogPart){
                                .stream = stream,
                                .data = data + at,
                                .n = MIN(n - at, (size_t) ATTACH_PACKET_MAX),
                        };
                sent = client_send(client, parts, n_parts);
                if (sent == 0)
                        break;
                client->sent += sent;
        }
        if (!client->reads)
                client->record.bytes_dropped += n - client->sent;
}

/*
 * Is there room for more output? Where there is none, those who take nothing have had their time: it began when they
 * last took something, not when room ran out. Sets the timer for who has some of it left.
 */
static bool make_room(Attach *attach) {
        uint64_t now, wait = UINT64_MAX;

        if (attach->backlog.size < ATTACH_BACKLOG_MAX)
                return true;

        now = clk_monotonic();
        for (Client *client = attach->clients; client; client = client->next) {
                uint64_t silence = now - client->progress_ns;

                if (!backlog_behind(&client->mark))
                        continue;
                if (silence >= ATTACH_PATIENCE_NS)
                        give_up(client);
                else
                        wait = MIN(wait, ATTACH_PATIENCE_NS - silence);
        }
        if (attach->backlog.size < ATTACH_BACKLOG_MAX)
                return true;
        return loop_timer_set(&attach->patience, wait, 0) < 0;
}

/* Says so once there is room again. */
static void check_room(Attach *attach) {
        if (!attach->full || !make_room(attach))
                return;

        attach->full = false;
        (void) loop_timer_stop(&attach->patience);
        update_clients(attach);
        attach->hooks.drained(attach->hooks.userdata);
}

static int on_patience(LoopTimer *timer) {
        check_room(container_of(timer, Attach, patience));
        return 0;
}

static bool wants_input(const Attach *attach) {
        return attach->n_input == 0;
}

/* What each client is asked for: input where there is room for it, room for output where some is pending. */
static void update_clients(Attach *attach) {
        for (Client *client = attach->clients; client; client = client->next) {
                uint32_t mask = 0;

                if (client->writes && wants_input(attach))
                        mask |= EPOLLIN;
                if (backlog_behind(&client->mark))
                        mask |= EPOLLOUT;
                if (client->source.loop)
                        (void) loop_source_set(&client->source, mask);
                else if (mask & EPOLLIN)
                        (void) loop_source_add(&client->source, attach->loop, client->fd, mask, on_client);
        }
}

static void set_stdin_mask(Attach *attach, uint32_t mask) {
        if (attach->stdin_source.loop)
                (void) loop_source_set(&attach->stdin_source, mask);
        else if (attach->stdin_fd >= 0)
                (void) loop_source_add(&attach->stdin_source, attach->loop, attach->stdin_fd, mask, on_stdin);
}

static void input_ended(Attach *attach) {
        if (attach->options.has_stdin && !attach->options.leave_stdin_open)
                attach_close_stdin(attach);
}

static void drop_input(Attach *attach) {
        attach->n_input = attach->input_at = 0;
}

/* Moves pending input on. */
static void write_input(Attach *attach) {
        while (attach->n_input > 0 && attach->stdin_fd >= 0) {
                ssize_t n =
                        write(attach->stdin_fd, attach->input + attach->input_at, attach->n_input - attach->input_at);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno == EAGAIN) {
                                set_stdin_mask(attach, EPOLLOUT);
                                return;
                        }
                        /* Nobody reads it any more. */
                        attach_close_stdin(attach);
                        return;
                }

                attach->input_at += (size_t) n;
                if (attach->input_at == attach->n_input)
                        drop_input(attach);
        }

        if (attach->n_input > 0 && !attach->stdin_expected)
                drop_input(attach);
        set_stdin_mask(attach, 0);
}

static int on_stdin(LoopSource *source, uint32_t events) {
        Attach *attach = container_of(source, Attach, stdin_source);

        if (attach->n_input > 0) {
                write_input(attach);
        } else if (events & EPOLLERR) {
                /* The last reader of the pipe has gone; it can come back only to a terminal. */
                attach_close_stdin(attach);
        } else if (events & EPOLLHUP) {
                /* Nobody has the terminal open just now: not to be asked again until there is input. */
                loop_source_remove(&attach->stdin_source);
        }
        update_clients(attach);
        return 0;
}

static void read_input(Client *client) {
        Attach *attach = client->attach;
        ssize_t n;

        if (!attach->input) {
                attach->input = malloc(ATTACH_INPUT_MAX);
                if (!attach->input)
                        return;
        }

        n = recv(client->fd, attach->input, ATTACH_INPUT_MAX, MSG_DONTWAIT);
        if (n < 0) {
                if (errno == EAGAIN || errno == EINTR)
                        return;
                n = 0;
        }
        if (n == 0) {
                client->writes = false;
                (void) shutdown(client->fd, SHUT_RD);
                input_ended(attach);
                return;
        }

        client->record.bytes_in += (size_t) n;
        attach->n_input = (size_t) n;
        attach->input_at = 0;
        write_input(attach);
}

static int on_client(LoopSource *source, uint32_t events) {
        Client *client = container_of(source, Client, source);
        Attach *attach = client->attach;

        if (attach->ended) {
                client_catch_up(client);
                if (!backlog_behind(&client->mark))
                        client_free(client);
                return 0;
        }

        if (events & EPOLLOUT)
                client_catch_up(client);

        /* What a client sent before it went is read first, packet by packet. */
        if (client->writes && (events & EPOLLIN) && wants_input(attach))
                read_input(client);

        if (events & (EPOLLHUP | EPOLLERR)) {
                if (client->reads)
                        client_stop_reading(client);
                if (!client->writes)
                        client_free(client);
                else if (!wants_input(attach))
                        /* There is input of its to be read, once there is room: not to be asked again until then. */
                        loop_source_remove(&client->source);
        } else if (!client->reads && !client->writes) {
                client_free(client);
        }

        update_clients(attach);
        check_room(attach);
        return 0;
}

static int on_connection(LoopSource *source, _unused_ uint32_t events) {
        Attach *attach = container_of(source, Attach, listener);
        _cleanup_close_ int fd = -EBADF;
        Client *client;

        fd = accept4(attach->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || attach->n_clients == ATTACH_CLIENTS_MAX)
                return 0;

        client = malloc(sizeof(*client));
        if (!client)
                return 0;
        *client = (Client){
                .source = LOOP_SOURCE_NULL,
                .attach = attach,
                .fd = fd,
                .reads = true,
                .writes = true,
                .record = { .start = clk_now() },
        };
        if (loop_source_add(&client->source, attach->loop, fd, 0, on_client) < 0) {
                free(client);
                return 0;
        }

        TAKE_FD(fd);
        client->next = attach->clients;
        attach->clients = client;
        attach->n_clients++;
        update_clients(attach);
        return 0;
}

int attach_new(Loop *loop, const AttachOptions *options, const AttachHooks *hooks, Attach **ret) {
        _cleanup_(attach_freep) Attach *attach = NULL;
        int r;

        assert(loop);
        assert(hooks && hooks->drained);

        attach = malloc(sizeof(*attach));
        if (!attach)
                return -ENOMEM;
        *attach = (Attach){
                .loop = loop,
                .options = *options,
                .hooks = *hooks,
                .listener = LOOP_SOURCE_NULL,
                .listen_fd = -EBADF,
                .patience = LOOP_TIMER_NULL,
                .stdin_source = LOOP_SOURCE_NULL,
                .stdin_fd = -EBADF,
                .stdin_expected = true,
        };

        r = loop_timer_add(&attach->patience, loop, on_patience);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(attach);
        return 0;
}

Attach *attach_free(Attach *attach) {
        if (!attach)
                return NULL;

        while (attach->clients)
                client_free(attach->clients);
        loop_source_remove(&attach->listener);
        (void) close_fd(attach->listen_fd);
        loop_source_remove(&attach->stdin_source);
        (void) close_fd(attach->stdin_fd);
        loop_timer_remove(&attach->patience);
        free(attach->input);
        free(attach);
        return NULL;
}

int attach_listen(Attach *attach, int dir_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert(attach->listen_fd < 0);

        attach->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (attach->listen_fd < 0)
                return -errno;

        /* A bundle's path may be longer than an address. The mode is there from the first moment. */
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/attach", dir_fd);
        if (unlinkat(dir_fd, "attach", 0) < 0 && errno != ENOENT)
                return -errno;
        if (fchmod(attach->listen_fd, 0700) < 0 ||
            bind(attach->listen_fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            fchmodat(dir_fd, "attach", 0700, 0) < 0 || listen(attach->listen_fd, LISTEN_MAX) < 0)
                return -errno;

        return loop_source_add(&attach->listener, attach->loop, attach->listen_fd, EPOLLIN, on_connection);
}

int attach_set_stdin(Attach *attach, int fd) {
        int flags, r;

        assert(attach->stdin_fd < 0);

        attach->stdin_fd = fd;
        attach->stdin_expected = false;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        r = loop_source_add(&attach->stdin_source, attach->loop, fd, 0, on_stdin);
        if (r < 0)
                return r;

        write_input(attach);
        update_clients(attach);
        return 0;
}

void attach_close_stdin(Attach *attach) {
        bool had = attach->stdin_fd >= 0;

        loop_source_remove(&attach->stdin_source);
        attach->stdin_fd = close_fd(attach->stdin_fd);
        attach->stdin_expected = false;
        attach->n_input = attach->input_at = 0;
        update_clients(attach);
        if (had && attach->hooks.stdin_closed)
                attach->hooks.stdin_closed(attach->hooks.userdata);
}

/* Keeps what some do not have. */
static void keep(Attach *attach, uint8_t stream, const uint8_t *data, size_t n) {
        BacklogMark begin;
        bool kept = backlog_add(&attach->backlog, stream, data, n, &begin) == 0;

        for (Client *client = attach->clients; client; client = client->next) {
                bool behind = backlog_behind(&client->mark);

                if (!client->reads || (!behind && client->sent == n))
                        continue;
                if (!kept) {
                        client->record.bytes_dropped += behind ? n : n - client->sent;
                        give_up(client);
                } else if (!behind) {
                        backlog_enter(&client->mark, &begin, client->sent);
                        client->progress_ns = clk_monotonic();
                }
        }
}

bool attach_write(Attach *attach, uint8_t stream, const uint8_t *data, size_t n) {
        bool missed = false;

        if (!attach->clients || n == 0)
                return !attach->full;

        for (Client *client = attach->clients; client; client = client->next) {
                if (!client->reads)
                        client->record.bytes_dropped += n;
                else if (!backlog_behind(&client->mark))
                        client_send_new(client, stream, data, n);
                missed |= client->reads && (backlog_behind(&client->mark) || client->sent < n);
        }

        if (missed)
                keep(attach, stream, data, n);
        if (!attach->full)
                attach->full = !make_room(attach);
        update_clients(attach);
        return !attach->full;
}

void attach_end(Attach *attach) {
        Client *next;

        attach->ended = true;
        attach->full = false;
        (void) loop_timer_stop(&attach->patience);
        loop_source_remove(&attach->listener);
        attach->listen_fd = close_fd(attach->listen_fd);
        loop_source_remove(&attach->stdin_source);
        attach->stdin_fd = close_fd(attach->stdin_fd);

        for (Client *client = attach->clients; client; client = next) {
                next = client->next;
                client->writes = false;
                if (!backlog_behind(&client->mark))
                        client_free(client);
        }
        update_clients(attach);
}

/* Waits for the client that is first to have had its time, or that takes something. */
static int wait_for_clients(const Attach *attach) {
        struct pollfd fds[ATTACH_CLIENTS_MAX];
        uint64_t now = clk_monotonic(), wait = ATTACH_PATIENCE_NS, silence;
        nfds_t n = 0;

        for (const Client *client = attach->clients; client; client = client->next) {
                fds[n++] = (struct pollfd){ .fd = client->fd, .events = POLLOUT };
                silence = MIN(now - client->progress_ns, ATTACH_PATIENCE_NS);
                wait = MIN(wait, ATTACH_PATIENCE_NS - silence);
        }
        return poll(fds, n, (int) (wait / NSEC_PER_MSEC) + 1) < 0 && errno != EINTR ? -errno : 0;
}

void attach_finish(Attach *attach) {
        assert(attach->ended);

        for (Client *client = attach->clients; client; client = client->next)
                client->progress_ns = clk_monotonic();

        while (attach->clients && wait_for_clients(attach) == 0) {
                Client *next;

                for (Client *client = attach->clients; client; client = next) {
                        next = client->next;
                        client_catch_up(client);
                        if (backlog_behind(&client->mark) &&
                            clk_monotonic() - client->progress_ns >= ATTACH_PATIENCE_NS)
                                give_up(client);
                        if (!backlog_behind(&client->mark))
                                client_free(client);
                }
        }
}

unsigned attach_count(const Attach *attach) {
        return attach->n_clients;
}
