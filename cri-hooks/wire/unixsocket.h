#pragma once

/*
 * Unix sockets
 *
 * Sockets with names in the file system (unix(7)) that only our own user may connect to, and that are removed by who
 * made them.
 */

#include <stdint.h>
#include <sys/un.h>

/* Which file a name stands for; zeros: none. */
typedef struct UnixSocketFile {
        uint64_t dev, ino;
} UnixSocketFile;

/* The address of @path. Returns 0 or -ENAMETOOLONG. */
int unixsocket_address(const char *path, struct sockaddr_un *ret);

/*
 * A socket of @type (SOCK_STREAM, SOCK_SEQPACKET) that listens at @address, with mode 0600 from the beginning; it does
 * not block and is closed on exec. Returns its descriptor, -EADDRINUSE if there is anything at the name, or another
 * negative errno. Changes the umask meanwhile.
 */
int unixsocket_listen(const struct sockaddr_un *address, int type, int backlog);

/* Which file @path is, a symbolic link itself. Returns 0 or a negative errno. */
int unixsocket_file(const char *path, UnixSocketFile *ret);

/* Removes @path if it is the socket @file still: not if somebody else has put his own there by now. */
void unixsocket_remove(const char *path, const UnixSocketFile *file);
