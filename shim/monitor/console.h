#pragma once

/*
 * Console
 *
 * The socket through which an OCI runtime hands over a container's terminal (`--console-socket`): one connection, one
 * message with one descriptor, the master of a pseudo-terminal.
 */

#include <sys/socket.h>
#include "loop.h"

#define CONSOLE_PATH_MAX 107 /* of a socket's address */

typedef struct Console Console;
/* @fd is the function's to own. */
typedef int (*ConsoleFn)(Console *console, int fd);

struct Console {
        LoopSource listener;
        LoopSource connection;
        Loop *loop;
        int listen_fd;
        int connection_fd;
        char path[CONSOLE_PATH_MAX + 1]; /* "" once it is gone */
        ConsoleFn fn;
};

#define CONSOLE_NULL \
        { .listener = LOOP_SOURCE_NULL, .connection = LOOP_SOURCE_NULL, .listen_fd = -EBADF, .connection_fd = -EBADF }

/* Makes the socket in @dir, as "conmon-term." and a random suffix, and calls @fn once with the terminal. 0 or a
 * negative errno. */
int console_listen(Console *console, Loop *loop, const char *dir, ConsoleFn fn);
/* Takes what has come by now, without waiting for the loop: the sender has ended. */
int console_check(Console *console);
void console_deinit(Console *console);

/* The one descriptor that came with @message; what else came is closed. Returns it, or -EBADMSG. */
int console_take_fd(struct msghdr *message);

/* Gives a terminal the settings Kubernetes expects: newlines become carriage return and newline. 0 or a negative
 * errno. */
int console_set_up(int fd);
int console_resize(int fd, unsigned height, unsigned width);
