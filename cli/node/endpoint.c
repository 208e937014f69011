#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include "endpoint.h"
#include "util.h"

int endpoint_parse(const char *s, Endpoint *ret) {
        const char *scheme = strstr(s, "://"), *end, *colon;
        Endpoint endpoint = {};
        uint64_t port;

        if (strncmp(s, "unix:", 5) == 0) {
                s += strncmp(s, "unix://", 7) == 0 ? 7 : 5;
                if (!*s || snprintf(endpoint.host, sizeof(endpoint.host), "%s", s) >= (int) sizeof(endpoint.host))
                        return -EINVAL;
                *ret = endpoint;
                return 0;
        }
        if (scheme)
                s = scheme + 3;
        end = strchrnul(s, '/');
        if (*s == '[') {
                s++;
                colon = memchr(s, ']', (size_t) (end - s));
                if (!colon || colon[1] != ':')
                        return -EINVAL;
                if (colon - s >= ENDPOINT_HOST_MAX)
                        return -EINVAL;
                memcpy(endpoint.host, s, (size_t) (colon - s));
                colon++;
        } else {
                colon = memchr(s, ':', (size_t) (end - s));
                if (!colon || colon - s >= ENDPOINT_HOST_MAX)
                        return -EINVAL;
                memcpy(endpoint.host, s, (size_t) (colon - s));
        }
        colon++;
        if (!*endpoint.host || util_parse_u64(colon, (size_t) (end - colon), &port) < 0 || port == 0 ||
            port > UINT16_MAX)
                return -EINVAL;
        (void) snprintf(endpoint.port, sizeof(endpoint.port), "%u", (unsigned) port);
        *ret = endpoint;
        return 0;
}

/* Returns a descriptor, non-blocking, or a negative errno. */
static int connect_to(const struct sockaddr *address, socklen_t size) {
        _cleanup_close_ int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
        int error = 0;
        socklen_t error_size = sizeof(error);

        if (fd < 0)
                return -errno;
        if (connect(fd, address, size) >= 0)
                return TAKE_FD(fd);
        if (errno != EINPROGRESS)
                return -errno;
        if (poll(&pollfd, 1, ENDPOINT_TIMEOUT_MS) <= 0)
                return -ETIMEDOUT;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) < 0)
                return -errno;
        return error ? -error : TAKE_FD(fd);
}

/* What glibc's thread reads, as long as it likes. */
typedef struct Request {
        struct gaicb gaicb;
        struct addrinfo hints;
        Endpoint endpoint;
} Request;

/* getaddrinfo() waits for name servers without a limit of ours. */
static int resolve(const Endpoint *endpoint, struct addrinfo **ret) {
        Request *request = calloc(1, sizeof(*request));
        struct gaicb *list[1];
        const struct timespec timeout = { .tv_sec = 2 };
        int r;

        if (!request)
                return -ENOMEM;
        request->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
        request->endpoint = *endpoint;
        request->gaicb = (struct gaicb){ .ar_name = request->endpoint.host,
                                         .ar_service = request->endpoint.port,
                                         .ar_request = &request->hints };
        list[0] = &request->gaicb;
        r = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
        if (r == 0) {
                (void) gai_suspend((const struct gaicb *const *) list, 1, &timeout);
                r = gai_error(list[0]);
        }
        /* One that cannot be called off keeps its request; the program ends soon. */
        if (r == EAI_INPROGRESS && gai_cancel(list[0]) != EAI_CANCELED)
                return -ETIMEDOUT;
        if (r == 0)
                *ret = request->gaicb.ar_result;
        free(request);
        return r == 0 ? 0 : -ENOENT;
}

/* Returns a descriptor or a negative errno. */
static int dial(const Endpoint *endpoint) {
        struct addrinfo *found = NULL;
        int r;

        if (!*endpoint->port) {
                struct sockaddr_un address = { .sun_family = AF_UNIX };

                if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", endpoint->host) >=
                    (int) sizeof(address.sun_path))
                        return -ENAMETOOLONG;
                return connect_to((struct sockaddr *) &address, sizeof(address));
        }
        r = resolve(endpoint, &found);
        if (r < 0)
                return r;
        r = -EHOSTUNREACH;
        for (struct addrinfo *i = found; i && r < 0; i = i->ai_next)
                r = connect_to(i->ai_addr, i->ai_addrlen);
        freeaddrinfo(found);
        return r;
}

int endpoint_dial(const Endpoint *endpoint) {
        int fd = dial(endpoint);

        if (fd < 0)
                return fd;
        close_fd(fd);
        return 0;
}

EndpointPeer endpoint_recognize(const uint8_t *data, size_t n) {
        /* A server's first frame is SETTINGS on stream 0. */
        static const char http1[] = "HTTP/";

        if (n >= 3 && data[0] == 0x15 && data[1] == 3)
                return ENDPOINT_TLS;
        if (n >= 9 && data[3] == 4 && (data[4] & ~1) == 0 && memcmp(data + 5, "\0\0\0\0", 4) == 0)
                return ENDPOINT_HTTP2;
        if (n >= sizeof(http1) - 1 && memcmp(data, http1, sizeof(http1) - 1) == 0)
                return ENDPOINT_HTTP1;
        return ENDPOINT_OTHER;
}

int endpoint_greet(const Endpoint *endpoint, EndpointPeer *ret) {
        static const char greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                       "\0\0\0\4\0\0\0\0\0";
        _cleanup_close_ int fd = dial(endpoint);
        struct timespec begin, now;
        uint8_t data[16];
        size_t n = 0;

        if (fd < 0)
                return fd;
        *ret = ENDPOINT_CLOSED;
        if (send(fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL) < 0)
                return 0;

        (void) clock_gettime(CLOCK_MONOTONIC, &begin);
        while (n < 9) {
                struct pollfd pollfd = { .fd = fd, .events = POLLIN };
                int64_t elapsed_ms;
                ssize_t got;

                (void) clock_gettime(CLOCK_MONOTONIC, &now);
                elapsed_ms = (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000;
                if (elapsed_ms >= ENDPOINT_TIMEOUT_MS ||
                    poll(&pollfd, 1, (int) (ENDPOINT_TIMEOUT_MS - elapsed_ms)) <= 0) {
                        *ret = n > 0 ? endpoint_recognize(data, n) : ENDPOINT_SILENT;
                        return 0;
                }
                got = recv(fd, data + n, sizeof(data) - n, 0);
                if (got <= 0)
                        break;
                n += (size_t) got;
        }
        if (n > 0)
                *ret = endpoint_recognize(data, n);
        return 0;
}
