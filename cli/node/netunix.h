#pragma once

/*
 * /proc/net/unix
 *
 * Who listens on a Unix socket and how many connections it has: a server's side of each bears the listener's path, also
 * after the socket was renamed. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct NetunixSocket {
        bool listening;
        unsigned connections; /* accepted and alive */
} NetunixSocket;

/* Reads the NUL-terminated @text for @path. */
void netunix_find(const char *text, const char *path, NetunixSocket *ret);
