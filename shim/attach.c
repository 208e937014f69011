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

#define BACKLOG     10
#define PACKETS_MAX 16 /* sent by one system call */

typedef struct Client {
        LoopSource source;
        Attach *attach;
        struct Client *next;
        int fd;
        bool reads;  /* takes output */
        bool writes; /* may send input */
        size_t sent; /* of the pending output */
        uint64_t progress_ns;
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

        /* output that some client does not have yet; borrowed */
        const uint8_t *data;
        size_t n_data;
        uint8_t stream;
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

static bool client_done(const Client *client) {
        return !client->reads || client->sent >= client->attach->n_data;
}

static bool all_done(const Attach *attach) {
        for (const Client *client = attach->clients; client; client = client->next)
                if (!client_done(client))
                        return false;
        return true;
}

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
        client->record.duration_ns = clk_monotonic() - client->record.start.monotonic_ns;
        if (attach->hooks.ended)
                attach->hooks.ended(attach->hooks.userdata, &client->record);
        free(client);
}

static void client_stop_reading(Client *client, int how) {
        if (!client_done(client))
                client->record.bytes_dropped += client->attach->n_data - client->sent;
        client->reads = false;
        (void) shutdown(client->fd, how);
}

/* Sends what it can of the pending output; what fails costs this client only. */
static void client_send(Client *client) {
        Attach *attach = client->attach;

        while (!client_done(client)) {
                struct mmsghdr packets[PACKETS_MAX] = {};
                struct iovec parts[PACKETS_MAX][2];
                size_t at = client->sent;
                unsigned n = 0;
                int r;

                for (; n < PACKETS_MAX && at < attach->n_data; n++) {
                        size_t len = MIN(attach->n_data - at, (size_t) ATTACH_PACKET_MAX);

                        parts[n][0] = (struct iovec){ .iov_base = &attach->stream, .iov_len = 1 };
                        parts[n][1] = (struct iovec){ .iov_base = (void *) (attach->data + at), .iov_len = len };
                        packets[n].msg_hdr = (struct msghdr){ .msg_iov = parts[n], .msg_iovlen = 2 };
                        at += len;
                }

                r = sendmmsg(client->fd, packets, n, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (r < 0) {
                        if (errno == EAGAIN || errno == ENOBUFS)
                                return;
                        if (errno == EINTR)
                                continue;
                        client_stop_reading(client, SHUT_WR);
                        return;
                }

                for (int i = 0; i < r; i++) {
                        client->sent += parts[i][1].iov_len;
                        client->record.bytes_out += parts[i][1].iov_len;
                }
                client->progress_ns = clk_monotonic();
        }
}

static void give_up(Client *client) {
        client->record.stalled = true;
        client_stop_reading(client, SHUT_WR);
}

static void forget_output(Attach *attach) {
        attach->data = NULL;
        attach->n_data = 0;
        for (Client *client = attach->clients; client; client = client->next)
                client->sent = 0;
        (void) loop_timer_stop(&attach->patience);
}

/* Looks whether the pending output has been taken by all. */
static void check_drained(Attach *attach) {
        if (!attach->data || !all_done(attach))
                return;

        forget_output(attach);
        update_clients(attach);
        attach->hooks.drained(attach->hooks.userdata);
}

static int on_patience(LoopTimer *timer) {
        Attach *attach = container_of(timer, Attach, patience);
        uint64_t now = clk_monotonic();

        for (Client *client = attach->clients; client; client = client->next)
                if (!client_done(client) && now - client->progress_ns >= ATTACH_PATIENCE_NS)
                        give_up(client);
        update_clients(attach);
        check_drained(attach);
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
                if (!client_done(client))
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

        if (events & EPOLLOUT)
                client_send(client);

        /* What a client sent before it went is read first, packet by packet. */
        if (client->writes && (events & EPOLLIN) && wants_input(attach))
                read_input(client);

        if (events & (EPOLLHUP | EPOLLERR)) {
                if (client->reads)
                        client_stop_reading(client, SHUT_WR);
                if (!client->writes)
                        client_free(client);
                else if (!wants_input(attach))
                        /* There is input of its to be read, once there is room: not to be asked again until then. */
                        loop_source_remove(&client->source);
        } else if (!client->reads && !client->writes) {
                client_free(client);
        }

        update_clients(attach);
        check_drained(attach);
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
                .sent = attach->n_data, /* what is under way began before it came */
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
            fchmodat(dir_fd, "attach", 0700, 0) < 0 || listen(attach->listen_fd, BACKLOG) < 0)
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

bool attach_write(Attach *attach, uint8_t stream, const uint8_t *data, size_t n) {
        assert(!attach->data);

        if (!attach->clients)
                return true;

        attach->data = data;
        attach->n_data = n;
        attach->stream = stream;
        for (Client *client = attach->clients; client; client = client->next) {
                client->sent = 0;
                if (!client->reads)
                        client->record.bytes_dropped += n;
                client_send(client);
        }

        if (all_done(attach)) {
                attach->data = NULL;
                attach->n_data = 0;
                for (Client *client = attach->clients; client; client = client->next)
                        client->sent = 0;
                return true;
        }

        for (Client *client = attach->clients; client; client = client->next)
                client->progress_ns = clk_monotonic();
        update_clients(attach);
        (void) loop_timer_set(&attach->patience, ATTACH_PATIENCE_NS / 4, ATTACH_PATIENCE_NS / 4);
        return false;
}

void attach_finish(Attach *attach) {
        while (attach->data && !all_done(attach)) {
                struct pollfd fds[ATTACH_CLIENTS_MAX];
                Client *waiting[ATTACH_CLIENTS_MAX];
                unsigned n = 0;

                for (Client *client = attach->clients; client; client = client->next)
                        if (!client_done(client)) {
                                fds[n] = (struct pollfd){ .fd = client->fd, .events = POLLOUT };
                                waiting[n++] = client;
                        }

                if (poll(fds, n, (int) (ATTACH_PATIENCE_NS / 4 / NSEC_PER_MSEC)) < 0 && errno != EINTR)
                        break;
                for (unsigned i = 0; i < n; i++) {
                        if (fds[i].revents)
                                client_send(waiting[i]);
                        if (!client_done(waiting[i]) && clk_monotonic() - waiting[i]->progress_ns >= ATTACH_PATIENCE_NS)
                                give_up(waiting[i]);
                }
        }

        forget_output(attach);
        update_clients(attach);
}

unsigned attach_count(const Attach *attach) {
        return attach->n_clients;
}
