#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include "relay.h"

#define CHUNK 65536

int relay_init(Relay *relay, int from_fd, int *ret_read_fd) {
        int fds[2];

        assert(relay);
        assert(ret_read_fd);

        *relay = (Relay) RELAY_NULL;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        /* Ours alone: the other end is another open file. */
        if (fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0) {
                int r = -errno;

                close_fd(fds[0]);
                close_fd(fds[1]);
                return r;
        }

        *relay = (Relay){
                .from_fd = from_fd,
                .to_fd = fds[1],
        };
        *ret_read_fd = fds[0];
        return 0;
}

void relay_deinit(Relay *relay) {
        if (!relay)
                return;

        relay->to_fd = close_fd(relay->to_fd);
        relay->from_fd = -EBADF;
        input_deinit(&relay->input);
}

bool relay_active(const Relay *relay) {
        return relay->to_fd >= 0;
}

static bool pending(const Relay *relay) {
        return relay->written < relay->input.size;
}

void relay_poll(const Relay *relay, struct pollfd *ret_from, struct pollfd *ret_to) {
        bool active = relay_active(relay);

        *ret_from = (struct pollfd){
                .fd = active && !pending(relay) && !relay->input.eof ? relay->from_fd : -1,
                .events = POLLIN,
        };
        /* Without any event asked for, POLLERR still tells that the reader is gone. */
        *ret_to = (struct pollfd){
                .fd = active ? relay->to_fd : -1,
                .events = pending(relay) ? POLLOUT : 0,
        };
}

/* Ends both sides: whoever writes to us then learns it as without us. */
static void stop(Relay *relay) {
        close_fd(relay->from_fd);
        relay_deinit(relay);
}

static void fill(Relay *relay) {
        ssize_t n;

        if (!relay->input.data) {
                relay->input.data = malloc(CHUNK);
                if (!relay->input.data) {
                        stop(relay);
                        return;
                }
                relay->input.allocated = CHUNK;
        }

        n = read(relay->from_fd, relay->input.data, relay->input.allocated);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;

        relay->written = 0;
        relay->input.size = n > 0 ? (size_t) n : 0;
        relay->input.eof = n <= 0;
}

void relay_run(Relay *relay, const struct pollfd *from, const struct pollfd *to) {
        assert(relay);

        if (!relay_active(relay))
                return;
        if (to->revents & POLLERR) {
                stop(relay);
                return;
        }

        if (from->revents != 0 && !pending(relay))
                fill(relay);

        if (relay_active(relay) && pending(relay)) {
                ssize_t n = write(relay->to_fd, relay->input.data + relay->written, relay->input.size - relay->written);

                if (n >= 0)
                        relay->written += (size_t) n;
                else if (errno != EINTR && errno != EAGAIN) {
                        stop(relay);
                        return;
                }
        }

        if (relay_active(relay) && !pending(relay) && relay->input.eof)
                stop(relay);
}
