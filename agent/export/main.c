/* podspan-export: one OTLP client, as podspand orders (exportwire.h). It ends with podspand's end of the pair. */

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include "client.h"
#include "exportwire.h"
#include "fdpass.h"
#include "log.h"
#include "sandbox.h"
#include "sysfilter.h"

#define EXIT_USAGE 2

/* Receives one order and maps what came with it, read-only. Returns 0, or a negative errno. */
static int receive(ExportwireOrder *ret_order, void **ret_data) {
        ExportwireOrder order;
        int fds[FDPASS_MAX];
        size_t n_fds;
        ssize_t n;
        void *data;
        int r;

        n = fdpass_recv(EXPORTWIRE_FD, &order, sizeof(order), fds, &n_fds);
        if (n < 0)
                return (int) n;
        r = exportwire_order_parse(&order, (size_t) n, &order);
        if (r == 0 && (n_fds != 1 || order.size == 0))
                r = -EBADMSG;
        data = r < 0 ? MAP_FAILED : mmap(NULL, order.size, PROT_READ, MAP_SHARED | MAP_POPULATE, fds[0], 0);
        if (r == 0 && data == MAP_FAILED)
                r = -errno;
        for (size_t i = 0; i < n_fds; i++)
                (void) close(fds[i]);
        if (r < 0)
                return r;

        *ret_order = order;
        *ret_data = data;
        return 0;
}

static int wait_for(short *ret_wire, short *ret_client, int client_fd) {
        struct pollfd fds[] = {
                { .fd = EXPORTWIRE_FD, .events = POLLIN },
                { .fd = client_fd, .events = POLLIN },
        };

        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
                return -errno;
        *ret_wire = fds[0].revents;
        *ret_client = fds[1].revents;
        return 0;
}

static int serve(void) {
        ExportwireAnswer answer;
        ExportwireSetup setup;
        ExportwireOrder order;
        short wire = 0, ended = 0;
        Client *client;
        void *data;
        int r;

        /* The pair is non-blocking for podspand's sake. */
        r = poll(&(struct pollfd){ .fd = EXPORTWIRE_FD, .events = POLLIN }, 1, -1) < 0 ? -errno : 0;
        if (r == 0)
                r = receive(&order, &data);
        if (r == 0 && order.type != EXPORTWIRE_SETUP)
                r = -EBADMSG;
        if (r == 0)
                r = exportwire_setup_parse(data, order.size, &setup);
        /* Before gRPC starts its threads. */
        if (r == 0)
                r = sandbox_load(sysfilter_kill_wanted());
        if (r == 0)
                r = client_new(&setup, &client);

        while (r == 0) {
                r = wait_for(&wire, &ended, client_event_fd(client));
                if (r == 0 && ended && client_take(client, &answer) > 0)
                        r = fdpass_send(EXPORTWIRE_FD, &answer, sizeof(answer), NULL, 0);
                if (r == 0 && wire) {
                        r = receive(&order, &data);
                        if (r == 0 && order.type != EXPORTWIRE_START)
                                r = -EBADMSG;
                        if (r == 0)
                                r = client_start(client, data, order.size, order.timeout_ns);
                }
        }
        return r;
}

int main(int argc, char **argv) {
        int type;
        socklen_t size = sizeof(type);
        int r;

        log_setup("podspan-export", LOG_LEVEL_INFO);
        /* Executed by descriptor, it would be called by its number. */
        (void) prctl(PR_SET_NAME, "podspan-export", 0, 0, 0);

        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                printf("podspan-export %s\n", PODSPAN_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc != 2 || strcmp(argv[1], "--serve") != 0 ||
            getsockopt(EXPORTWIRE_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
                fprintf(stderr, "podspan-export is started by podspand: it sends spans to a collector and does nothing "
                                "else (docs/agent.md).\n");
                return EXIT_USAGE;
        }

        r = serve();
        /* gRPC's threads are not waited for. */
        if (r == -ECONNRESET || r == -EPIPE)
                _exit(EXIT_SUCCESS);
        (void) log_error_errno(r, "export: %m");
        _exit(EXIT_FAILURE);
}
