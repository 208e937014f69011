#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "clk.h"
#include "logpipe.h"
#include "util.h"

#define LINGER_MS 20 /* between two looks */

void logpipe_init(LogPipe *pipe, int fd, bool fifo, bool reader) {
        *pipe = (LogPipe){ .fd = fd, .fifo = fifo, .read = !fifo || reader, .reader_ms = LOGPIPE_READER_MS };
}

void logpipe_deinit(LogPipe *pipe) {
        free(TAKE_PTR(pipe->rest));
        pipe->n_rest = 0;
}

/* Is there less in the FIFO than was written to it? */
static bool was_read(const LogPipe *pipe) {
        int there = 0;

        return ioctl(pipe->fd, FIONREAD, &there) == 0 && (uint64_t) there < pipe->written;
}

/* Waits until there is room, as long as the rules allow. */
static bool wait_for_room(LogPipe *pipe) {
        struct pollfd poll_fd = { .fd = pipe->fd, .events = POLLOUT };
        uint64_t begin_ns, waited_ms;
        int ms, r;

        if (!pipe->read)
                pipe->read = was_read(pipe);
        if (!pipe->read && !pipe->widened) {
                pipe->widened = true;
                if (fcntl(pipe->fd, F_SETPIPE_SZ, LOGPIPE_KEEP) > 0)
                        return true;
        }
        ms = pipe->stalled ? 0 : pipe->read ? LOGPIPE_STALL_MS : (int) pipe->reader_ms;
        if (ms == 0)
                return false;

        begin_ns = clk_monotonic();
        do
                r = poll(&poll_fd, 1, ms);
        while (r < 0 && errno == EINTR && clk_monotonic() - begin_ns < (uint64_t) ms * NSEC_PER_MSEC);
        waited_ms = (clk_monotonic() - begin_ns) / NSEC_PER_MSEC;
        if (!pipe->read)
                pipe->reader_ms -= (uint32_t) MIN(waited_ms, (uint64_t) pipe->reader_ms);
        if (r > 0) {
                pipe->read = true;
                return true;
        }
        pipe->stalled = true;
        return false;
}

void logpipe_advance(struct iovec **iov, size_t *n, size_t written) {
        for (; *n > 0 && written >= (*iov)->iov_len; (*iov)++, (*n)--)
                written -= (*iov)->iov_len;
        if (*n > 0) {
                (*iov)->iov_base = (uint8_t *) (*iov)->iov_base + written;
                (*iov)->iov_len -= written;
        }
}

/* Writes as far as it goes. Returns 0 or the negative errno that stopped it, and how far it went. */
static int write_some(LogPipe *pipe, struct iovec *iov, size_t n, size_t *ret_written) {
        size_t written = 0;
        int r = 0;

        while (n > 0) {
                ssize_t k = writev(pipe->fd, iov, (int) n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno == EAGAIN && wait_for_room(pipe))
                        continue;
                if (k <= 0) {
                        r = k < 0 ? -errno : -EIO;
                        break;
                }
                pipe->stalled = false;
                pipe->written += (size_t) k;
                written += (size_t) k;
                logpipe_advance(&iov, &n, (size_t) k);
        }
        *ret_written = written;
        return r;
}

int logpipe_finish(LogPipe *pipe) {
        struct iovec iov = { .iov_base = pipe->rest, .iov_len = pipe->n_rest };
        size_t written;
        int r;

        if (pipe->n_rest == 0)
                return 0;
        r = write_some(pipe, &iov, 1, &written);
        pipe->n_rest -= written;
        if (pipe->n_rest > 0)
                memmove(pipe->rest, pipe->rest + written, pipe->n_rest);
        else
                free(TAKE_PTR(pipe->rest));
        return r;
}

/* Where the record ends that byte @at of the segments is in; the bytes from @at to there are copied to @ret. */
static int keep_rest(LogPipe *pipe, const struct iovec *segments, size_t n, size_t at) {
        size_t skip = at, size = 0;

        for (int pass = 0; pass < 2; pass++) {
                bool ended = false;

                size = 0;
                skip = at;
                for (size_t i = 0; i < n && !ended; i++) {
                        size_t step = MIN(skip, segments[i].iov_len), len = segments[i].iov_len - step;
                        const uint8_t *from = (const uint8_t *) segments[i].iov_base + step;
                        const uint8_t *newline = memchr(from, '\n', len);

                        skip -= step;
                        ended = newline != NULL;
                        len = newline ? (size_t) (newline - from) + 1 : len;
                        if (pass > 0)
                                memcpy(pipe->rest + size, from, len);
                        size += len;
                }
                if (pass > 0)
                        break;
                pipe->rest = malloc(size);
                if (!pipe->rest)
                        return -ENOMEM;
        }
        pipe->n_rest = size;
        return 0;
}

/* Did the first @written bytes end within a record? */
static bool is_torn(const struct iovec *segments, size_t n, size_t written) {
        for (size_t i = 0; i < n; i++) {
                if (written > 0 && written <= segments[i].iov_len)
                        return ((const uint8_t *) segments[i].iov_base)[written - 1] != '\n';
                written -= MIN(written, segments[i].iov_len);
        }
        return false;
}

static size_t size_of(const struct iovec *segments, size_t n) {
        size_t size = 0;

        for (size_t i = 0; i < n; i++)
                size += segments[i].iov_len;
        return size;
}

int logpipe_write(LogPipe *pipe, const struct iovec *segments, size_t n, size_t *ret_taken) {
        struct iovec iov[LOGPIPE_SEGMENTS];
        size_t written;
        int r;

        assert(n <= LOGPIPE_SEGMENTS);

        *ret_taken = 0;
        r = logpipe_finish(pipe);
        if (r < 0)
                return r;
        memcpy(iov, segments, n * sizeof(*iov));
        r = write_some(pipe, iov, n, &written);
        *ret_taken = written;
        if (r >= 0 || !is_torn(segments, n, written))
                return r;
        if (keep_rest(pipe, segments, n, written) < 0)
                return r;
        *ret_taken += pipe->n_rest;
        return *ret_taken == size_of(segments, n) ? 0 : r;
}

int logpipe_linger(LogPipe *pipe) {
        struct pollfd poll_fd = { .fd = -EBADF };
        _cleanup_close_ int fd = -EBADF;
        char link[64];

        if (!pipe->fifo || pipe->read || pipe->written == 0 || was_read(pipe))
                return 0;
        /* With an end for writing alone the kernel tells whether there is a reader: POLLERR says that there is none. */
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", pipe->fd);
        fd = open(link, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || dup3(fd, pipe->fd, O_CLOEXEC) < 0)
                return -errno;
        poll_fd.fd = fd;
        for (;; pipe->reader_ms -= LINGER_MS) {
                if (poll(&poll_fd, 1, 0) < 0 && errno != EINTR)
                        return -errno;
                if (!(poll_fd.revents & POLLERR))
                        return 0;
                if (pipe->reader_ms < LINGER_MS)
                        return -EAGAIN;
                (void) poll(NULL, 0, LINGER_MS);
        }
}
