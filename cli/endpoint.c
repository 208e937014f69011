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

static int connect_to(const struct sockaddr *address, socklen_t size) {
        _cleanup_close_ int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
        int error = 0;
        socklen_t error_size = sizeof(error);

        if (fd < 0)
                return -errno;
        if (connect(fd, address, size) >= 0)
                return 0;
        if (errno != EINPROGRESS)
                return -errno;
        if (poll(&pollfd, 1, ENDPOINT_TIMEOUT_MS) <= 0)
                return -ETIMEDOUT;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) < 0)
                return -errno;
        return -error;
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

int endpoint_dial(const Endpoint *endpoint) {
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
