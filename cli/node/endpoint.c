#include <assert.h>
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
        ConfigEndpoint endpoint;
        char port[8];
} Request;

/* getaddrinfo() waits for name servers without a limit of ours. */
static int resolve(const ConfigEndpoint *endpoint, struct addrinfo **ret) {
        Request *request = calloc(1, sizeof(*request));
        struct gaicb *list[1];
        const struct timespec timeout = { .tv_sec = 2 };
        int r;

        if (!request)
                return -ENOMEM;
        request->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
        request->endpoint = *endpoint;
        (void) snprintf(request->port, sizeof(request->port), "%u", (unsigned) endpoint->port);
        request->gaicb = (struct gaicb){ .ar_name = request->endpoint.host,
                                         .ar_service = request->port,
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
static int dial(const ConfigEndpoint *endpoint) {
        struct addrinfo *found = NULL;
        int r;

        if (endpoint->local) {
                struct sockaddr_un address = { .sun_family = AF_UNIX };

                static_assert(sizeof(address.sun_path) == sizeof(endpoint->path), "a path is one of a socket");
                memcpy(address.sun_path, endpoint->path, sizeof(endpoint->path));
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

int endpoint_dial(const ConfigEndpoint *endpoint) {
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

int endpoint_greet(const ConfigEndpoint *endpoint, EndpointPeer *ret) {
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
