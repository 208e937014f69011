#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "clk.h"
#include "criversion.h"
#include "nodefile.h"

/* HTTP/2, RFC 9113: a frame's header is a length of 3 bytes, a type, flags and the stream's number. */
#define FRAME_N     9U
#define FRAME_DATA  0U
#define FRAME_RESET 3U
#define FRAME_AWAY  7U
#define PADDED      8U /* flag of DATA */
#define STREAM      1U
#define MESSAGE_MAX 4096U
#define PREFIX_N    5U /* gRPC's, before the message: compressed, length */

/* Protobuf: what a field's tag says. */
#define WIRE_VARINT 0U
#define WIRE_64     1U
#define WIRE_BYTES  2U
#define WIRE_32     5U

#define PATH "/runtime.v1.RuntimeService/Version"
#define HEADERS                \
        "\x83\x86"             \
        "\x04"                 \
        "\x22" PATH "\x01\x09" \
        "localhost"            \
        "\x0f\x10\x10"         \
        "application/grpc"     \
        "\x00\x02"             \
        "te"                   \
        "\x08"                 \
        "trailers"
#define HEADERS_N (sizeof(HEADERS) - 1)

_Static_assert(sizeof(PATH) - 1 == 0x22, "the path's length stands in its header field");
_Static_assert(HEADERS_N < 256, "the frame's length has one byte that is not zero");

/* The preface, SETTINGS without any, HEADERS (:method POST, :scheme http, :path, :authority, content-type, te), and
 * DATA with gRPC's prefix of an empty message, which ends the stream. */
static size_t make_request(uint8_t ret[static 256]) {
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        static const uint8_t settings[FRAME_N] = { 0, 0, 0, 4 },
                             headers[FRAME_N] = { 0, 0, HEADERS_N, 1, 4, 0, 0, 0, 1 },
                             data[FRAME_N + PREFIX_N] = { 0, 0, PREFIX_N, 0, 1, 0, 0, 0, 1 };
        const struct {
                const void *p;
                size_t n;
        } parts[] = { { preface, sizeof(preface) - 1 },
                      { settings, sizeof(settings) },
                      { headers, sizeof(headers) },
                      { HEADERS, HEADERS_N },
                      { data, sizeof(data) } };
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                memcpy(ret + n, parts[i].p, parts[i].n);
                n += parts[i].n;
        }
        return n;
}

static int varint(const uint8_t *s, size_t n, size_t *pos, uint64_t *ret) {
        *ret = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
                if (*pos == n)
                        return -EBADMSG;
                *ret |= (uint64_t) (s[*pos] & 0x7f) << shift;
                if (!(s[(*pos)++] & 0x80))
                        return 0;
        }
        return -EBADMSG;
}

static int parse_message(const uint8_t *s, size_t n, Criversion *ret) {
        Criversion parsed = { "", "" };
        uint64_t tag, length;

        for (size_t pos = 0; pos < n;) {
                if (varint(s, n, &pos, &tag) < 0)
                        return -EBADMSG;
                switch (tag & 7) {
                case WIRE_VARINT:
                        if (varint(s, n, &pos, &length) < 0)
                                return -EBADMSG;
                        continue;
                case WIRE_64:
                        length = 8;
                        break;
                case WIRE_32:
                        length = 4;
                        break;
                case WIRE_BYTES:
                        if (varint(s, n, &pos, &length) < 0)
                                return -EBADMSG;
                        break;
                default:
                        return -EBADMSG;
                }
                if (length > n - pos)
                        return -EBADMSG;
                if (tag == (2 << 3 | WIRE_BYTES))
                        util_copy_bounded(parsed.name, sizeof(parsed.name), (const char *) s + pos, (size_t) length);
                else if (tag == (3 << 3 | WIRE_BYTES))
                        util_copy_bounded(parsed.version, sizeof(parsed.version), (const char *) s + pos,
                                          (size_t) length);
                pos += (size_t) length;
        }
        if (!*parsed.name || !*parsed.version)
                return -EBADMSG;
        *ret = parsed;
        return 1;
}

int criversion_parse(const uint8_t *s, size_t n, Criversion *ret) {
        uint8_t body[PREFIX_N + MESSAGE_MAX];
        size_t body_n = 0;

        for (size_t pos = 0; n - pos >= FRAME_N;) {
                const uint8_t *frame = s + pos, *p = frame + FRAME_N;
                size_t length = (size_t) frame[0] << 16 | (size_t) frame[1] << 8 | frame[2], padding = 0, expected;
                uint32_t stream = (uint32_t) (frame[5] & 0x7f) << 24 | (uint32_t) frame[6] << 16 |
                                  (uint32_t) frame[7] << 8 | frame[8];

                if (frame[3] == FRAME_AWAY || (frame[3] == FRAME_RESET && stream == STREAM))
                        return -EBADMSG;
                if (length > CRIVERSION_REPLY_MAX)
                        return -EBADMSG;
                if (length > n - pos - FRAME_N)
                        return 0;
                pos += FRAME_N + length;
                if (frame[3] != FRAME_DATA || stream != STREAM)
                        continue;
                if (frame[4] & PADDED) {
                        if (length == 0 || p[0] > length - 1)
                                return -EBADMSG;
                        padding = p[0];
                        p++;
                        length--;
                }
                length -= padding;
                if (length > sizeof(body) - body_n)
                        return -EBADMSG;
                memcpy(body + body_n, p, length);
                body_n += length;
                if (body_n < PREFIX_N)
                        continue;
                expected = (size_t) body[1] << 24 | (size_t) body[2] << 16 | (size_t) body[3] << 8 | body[4];
                if (body[0] != 0 || expected > MESSAGE_MAX)
                        return -EBADMSG;
                if (body_n >= PREFIX_N + expected)
                        return parse_message(body + PREFIX_N, expected, ret);
        }
        return 0;
}

static int dial(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF;
        uid_t peer;

        fd = nodefile_connect(root_fd, path, &peer);
        if (fd < 0)
                return fd;
        return peer == 0 || peer == geteuid() ? TAKE_FD(fd) : -EPERM;
}

int criversion_ask(int root_fd, const char *path, Criversion *ret) {
        _cleanup_close_ int fd = dial(root_fd, path);
        _cleanup_free_ uint8_t *reply = NULL;
        uint64_t deadline = clk_monotonic() + CRIVERSION_WAIT_MS * UINT64_C(1000000), now;
        uint8_t request[256];
        size_t request_n = make_request(request), n = 0;
        int r;

        if (fd < 0)
                return fd;
        reply = malloc(CRIVERSION_REPLY_MAX);
        if (!reply)
                return -ENOMEM;
        /* A socket that has just been connected has room for these few bytes. */
        if (send(fd, request, request_n, MSG_NOSIGNAL) != (ssize_t) request_n)
                return -EIO;
        while ((now = clk_monotonic()) < deadline) {
                struct pollfd pollfd = { .fd = fd, .events = POLLIN };
                ssize_t got;

                if (poll(&pollfd, 1, (int) ((deadline - now) / 1000000) + 1) <= 0)
                        continue;
                got = recv(fd, reply + n, CRIVERSION_REPLY_MAX - n, 0);
                if (got < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (got <= 0)
                        return got < 0 ? -errno : -EBADMSG;
                n += (size_t) got;
                r = criversion_parse(reply, n, ret);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (n == CRIVERSION_REPLY_MAX)
                        return -EBADMSG;
        }
        return -ETIMEDOUT;
}
