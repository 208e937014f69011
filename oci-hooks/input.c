#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include "clk.h"
#include "input.h"

#define CHUNK 4096 /* most states fit */

void input_deinit(Input *input) {
        if (!input)
                return;

        free(input->data);
        *input = (Input) INPUT_NULL;
}

/* Waits until @fd can be read without blocking. Returns 1, 0 if @deadline_ns has passed, or a negative errno. */
static int wait_readable(int fd, uint64_t deadline_ns) {
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };

        for (;;) {
                uint64_t now = clk_monotonic(), left = now < deadline_ns ? deadline_ns - now : 0;
                struct timespec timeout = { (time_t) (left / NSEC_PER_SEC), (long) (left % NSEC_PER_SEC) };
                int r;

                r = ppoll(&pollfd, 1, &timeout, NULL);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r > 0 && (pollfd.revents & POLLNVAL))
                        return -EBADF;
                return r;
        }
}

/* One read. Returns the number of bytes, 0 at the end, -ETIMEDOUT, or a negative errno. */
static ssize_t read_chunk(int fd, uint64_t deadline_ns, uint8_t *buffer, size_t size) {
        ssize_t n;
        int r;

        do {
                r = wait_readable(fd, deadline_ns);
                if (r <= 0)
                        return r < 0 ? r : -ETIMEDOUT;
                n = read(fd, buffer, size);
        } while (n < 0 && (errno == EINTR || errno == EAGAIN));
        return n < 0 ? -errno : n;
}

int input_read(int fd, uint64_t timeout_ns, const char *link_keys, State *state) {
        _cleanup_(state_parser_freep) StateParser *parser = NULL;
        uint64_t deadline = clk_monotonic() + timeout_ns;
        uint8_t buffer[CHUNK];
        bool any = false;
        int result = 0;

        /* Also without memory for a parser the runtime's bytes are taken. */
        parser = state_parser_new(state, link_keys);
        if (!parser)
                result = -ENOMEM;

        for (;;) {
                /* The writer of a whole object has nothing left to wait for; what else is in the pipe goes quickly. */
                ssize_t n = read_chunk(fd, result == 1 ? 0 : deadline, buffer, sizeof(buffer));

                if (n <= 0) {
                        if (result == 0 && any && n == 0)
                                return -EBADMSG;
                        return result;
                }

                any = true;
                if (result == 0)
                        result = state_parser_feed(parser, buffer, (size_t) n);
        }
}

int input_read_keep(int fd, uint64_t timeout_ns, const char *link_keys, State *state, Input *ret) {
        _cleanup_(state_parser_freep) StateParser *parser = NULL;
        uint64_t deadline = clk_monotonic() + timeout_ns;
        int r;

        assert(ret);
        *ret = (Input) INPUT_NULL;

        parser = state_parser_new(state, link_keys);
        if (!parser)
                return -ENOMEM;

        for (;;) {
                ssize_t n;

                if (ret->allocated - ret->size < CHUNK) {
                        size_t allocated = MAX(ret->allocated * 2, (size_t) CHUNK * 2);
                        uint8_t *data = realloc(ret->data, allocated);

                        if (!data)
                                return -ENOMEM;
                        ret->data = data;
                        ret->allocated = allocated;
                }

                n = read_chunk(fd, deadline, ret->data + ret->size, CHUNK);
                if (n <= 0) {
                        ret->eof = n == 0;
                        return n == 0 && ret->size > 0 ? -EBADMSG : 0;
                }

                ret->size += (size_t) n;
                r = state_parser_feed(parser, ret->data + ret->size - (size_t) n, (size_t) n);
                if (r != 0)
                        return r;
        }
}
