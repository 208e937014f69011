#pragma once

/*
 * Relay
 *
 * Hands a pipe on: bytes already read, then whatever still comes, to a new pipe. What one side does the other sees: an
 * end of input closes the new pipe, a reader that closes it closes the old one. Never blocks; memory is what was given
 * plus one chunk.
 */

#include <poll.h>
#include "input.h"

typedef struct Relay {
        int from_fd;
        int to_fd;      /* not blocking */
        Input input;    /* owned */
        size_t written; /* of input */
} Relay;

#define RELAY_NULL \
        { .from_fd = -EBADF, .to_fd = -EBADF }

/*
 * Makes the new pipe, whose read end is for the child. @from_fd stays the caller's, but is closed when nothing can be
 * handed on any more. What has been read from it already goes to relay->input. Returns 0 or a negative errno.
 */
int relay_init(Relay *relay, int from_fd, int *ret_read_fd);
void relay_deinit(Relay *relay);

/* Is there anything left to do? */
bool relay_active(const Relay *relay);
/* What to wait for; both are always filled, with a negative descriptor where there is nothing to wait for. */
void relay_poll(const Relay *relay, struct pollfd *ret_from, struct pollfd *ret_to);
/* Does what can be done without waiting. */
void relay_run(Relay *relay, const struct pollfd *from, const struct pollfd *to);
