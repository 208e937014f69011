#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include "console.h"

#define SUFFIX_SIZE 6
#define NAME_SIZE   4096 /* the message's text: the terminal's name, of no use here */
#define FDS_MAX     8    /* that may come with it; the kernel discards more */

int console_take_fd(struct msghdr *message) {
        int fd = -EBADF;
        unsigned n_fds = 0;

        assert(message);

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
                        continue;

                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int one;

                        memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(one));
                        if (n_fds++ == 0)
                                fd = one;
                        else
                                (void) close_fd(one);
                }
        }

        if (n_fds == 1 && !(message->msg_flags & MSG_CTRUNC))
                return fd;
        (void) close_fd(fd);
        return -EBADMSG;
}

static int on_message(LoopSource *source, _unused_ uint32_t events) {
        Console *console = container_of(source, Console, connection);
        union {
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
                struct cmsghdr align;
        } control;
        char name[NAME_SIZE];
        struct iovec iov = { .iov_base = name, .iov_len = sizeof(name) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t n;
        int fd;

        n = recvmsg(console->connection_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        fd = n > 0 ? console_take_fd(&message) : -EBADMSG;

        loop_source_remove(&console->connection);
        console->connection_fd = close_fd(console->connection_fd);
        return console->fn(console, fd);
}

static int on_connection(LoopSource *source, _unused_ uint32_t events) {
        Console *console = container_of(source, Console, listener);
        int fd;

        fd = accept4(console->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return 0;

        /* One is all there will be. */
        (void) unlink(console->path);
        console->path[0] = '\0';
        loop_source_remove(&console->listener);
        console->listen_fd = close_fd(console->listen_fd);

        console->connection_fd = fd;
        return loop_source_add(&console->connection, console->loop, fd, EPOLLIN, on_message);
}

int console_listen(Console *console, Loop *loop, const char *dir, ConsoleFn fn) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        uint8_t random[SUFFIX_SIZE];
        char suffix[2 * SUFFIX_SIZE + 1];
        int r;

        assert(console);
        assert(dir);

        r = util_random(random, sizeof(random));
        if (r < 0)
                return r;
        util_hex_encode(random, sizeof(random), suffix);
        r = snprintf(console->path, sizeof(console->path), "%s/conmon-term.%s", dir, suffix);
        if (r < 0 || (size_t) r >= sizeof(console->path)) {
                console->path[0] = '\0';
                return -ENAMETOOLONG;
        }

        console->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (console->listen_fd < 0)
                return -errno;

        memcpy(address.sun_path, console->path, strlen(console->path) + 1);
        if (fchmod(console->listen_fd, 0700) < 0 ||
            bind(console->listen_fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                console->path[0] = '\0';
                return -errno;
        }
        if (listen(console->listen_fd, 1) < 0)
                return -errno;

        console->loop = loop;
        console->fn = fn;
        return loop_source_add(&console->listener, loop, console->listen_fd, EPOLLIN, on_connection);
}

int console_check(Console *console) {
        int r;

        if (console->listen_fd >= 0) {
                r = on_connection(&console->listener, EPOLLIN);
                if (r < 0)
                        return r;
        }
        return console->connection_fd >= 0 ? on_message(&console->connection, EPOLLIN) : 0;
}

void console_deinit(Console *console) {
        if (console->path[0] != '\0')
                (void) unlink(console->path);
        console->path[0] = '\0';
        loop_source_remove(&console->listener);
        loop_source_remove(&console->connection);
        console->listen_fd = close_fd(console->listen_fd);
        console->connection_fd = close_fd(console->connection_fd);
}

int console_set_up(int fd) {
        struct termios settings;

        if (tcgetattr(fd, &settings) < 0)
                return -errno;
        settings.c_oflag |= ONLCR;
        return tcsetattr(fd, TCSANOW, &settings) < 0 ? -errno : 0;
}

int console_resize(int fd, unsigned height, unsigned width) {
        const struct winsize size = { .ws_row = (unsigned short) height, .ws_col = (unsigned short) width };

        return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
