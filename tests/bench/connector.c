/*
 * connector: the kernel's process connector (netlink) as a source of process events, to be measured against
 *
 * Listens until SIGTERM and reads of each process that executes a program its command line, which the connector does
 * not carry. Prints then: events, execs, the execs whose process was gone before it could be read, and the events lost,
 * by the gaps in each CPU's sequence and by what the socket had no room for. Needs CAP_NET_ADMIN and the initial
 * namespaces.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include "util.h"

#define CPUS_MAX 4096

static struct {
        uint64_t n_events, n_execs, n_gone, n_lost;
        uint32_t seq[CPUS_MAX];
        bool known[CPUS_MAX];
} counts;

static int subscribe(int fd, enum proc_cn_mcast_op op) {
        alignas(struct nlmsghdr) char request[NLMSG_SPACE(sizeof(struct cn_msg) + sizeof(op))] = {};
        struct nlmsghdr *header = (struct nlmsghdr *) request;
        struct cn_msg *message = NLMSG_DATA(header);

        header->nlmsg_len = NLMSG_LENGTH(sizeof(*message) + sizeof(op));
        header->nlmsg_type = NLMSG_DONE;
        message->id = (struct cb_id){ CN_IDX_PROC, CN_VAL_PROC };
        message->len = sizeof(op);
        memcpy(message->data, &op, sizeof(op));
        return send(fd, request, header->nlmsg_len, 0) < 0 ? -errno : 0;
}

static int open_connector(void) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);
        int r;

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = subscribe(fd, PROC_CN_MCAST_LISTEN);
        return r < 0 ? r : TAKE_FD(fd);
}

static void look_at(int pid) {
        char path[32], line[2048];
        _cleanup_close_ int fd = -EBADF;

        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, line, sizeof(line)) <= 0)
                counts.n_gone++;
}

static void take(const struct cn_msg *message) {
        const struct proc_event *event = (const struct proc_event *) message->data;
        uint32_t cpu = event->cpu;

        if (cpu < CPUS_MAX) {
                if (counts.known[cpu])
                        counts.n_lost += message->seq - counts.seq[cpu] - 1;
                counts.known[cpu] = true;
                counts.seq[cpu] = message->seq;
        }
        counts.n_events++;
        if (event->what == PROC_EVENT_EXEC) {
                counts.n_execs++;
                look_at(event->event_data.exec.process_tgid);
        }
}

static void read_events(int fd) {
        alignas(struct nlmsghdr) char buffer[8192];
        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

        for (struct nlmsghdr *header = (struct nlmsghdr *) buffer; n > 0 && NLMSG_OK(header, n);
             header = NLMSG_NEXT(header, n))
                take(NLMSG_DATA(header));
}

int main(void) {
        _cleanup_close_ int fd = -EBADF, signals = -EBADF;
        struct pollfd fds[2];
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        signals = signalfd(-1, &set, SFD_CLOEXEC);
        fd = open_connector();
        if (fd < 0 || signals < 0) {
                (void) fprintf(stderr, "connector: cannot listen: %s\n", strerror(fd < 0 ? -fd : errno));
                return 1;
        }
        (void) printf("ready\n");
        (void) fflush(stdout);

        fds[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
        while (poll(fds, 2, -1) > 0 && !(fds[1].revents & POLLIN))
                if (fds[0].revents)
                        read_events(fd);
        (void) subscribe(fd, PROC_CN_MCAST_IGNORE);
        (void) printf("%llu %llu %llu %llu\n", (unsigned long long) counts.n_events,
                      (unsigned long long) counts.n_execs, (unsigned long long) counts.n_gone,
                      (unsigned long long) counts.n_lost);
        return 0;
}
