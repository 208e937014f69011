#pragma once

/*
 * Passing descriptors
 *
 * Packets with descriptors over a unix socket of type SOCK_SEQPACKET (SCM_RIGHTS, unix(7)).
 */

#include <stddef.h>
#include <sys/types.h>

#define FDPASS_MAX 250 /* descriptors of one packet; the kernel takes 253 */

/* Sends a packet of @len bytes with @n_fds descriptors, which stay the caller's. 0 or a negative errno. */
int fdpass_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds);

/*
 * Receives a packet of at most @size bytes and up to FDPASS_MAX descriptors, which are the caller's. Returns its
 * length, -ECONNRESET at the end, -EBADMSG for one that is longer or has more, -EAGAIN, or another negative errno.
 * Other than with success there are no descriptors.
 */
ssize_t fdpass_recv(int fd, void *buf, size_t size, int ret_fds[static FDPASS_MAX], size_t *ret_n_fds);

/* The process at the other end of a unix socket, if it has our uid: its pid; else -EPERM or another negative errno. */
pid_t fdpass_peer(int fd);
