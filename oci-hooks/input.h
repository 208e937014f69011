#pragma once

/*
 * Input
 *
 * Reads the OCI state from a descriptor of any kind, for a bounded time: it may be a pipe that fills slowly or never
 * closes, a terminal, a file, /dev/null, or not be open.
 */

#include "state.h"

/* What was read, for the one who has to hand it on. */
typedef struct Input {
        uint8_t *data;
        size_t size;
        size_t allocated;
        bool eof; /* nothing more will come */
} Input;

#define INPUT_NULL \
        {}

void input_deinit(Input *input);

/*
 * Reads the state from @fd until its object is complete, or @timeout_ns have passed. A runtime that writes to a hook
 * that is gone may take that for a failure, so what follows the object, or what cannot be parsed, is read and thrown
 * away until the end, in the same time.
 *
 * Returns 1 with @state filled, 0 if there was none (nothing but the end, or not in time), -EBADMSG or -EFBIG where
 * something else came.
 */
int input_read(int fd, uint64_t timeout_ns, const char *link_keys, State *state);

/*
 * Likewise, but stops as soon as the object is complete or cannot become one, and keeps every byte that was read in
 * @ret, which the caller owns whatever is returned.
 */
int input_read_keep(int fd, uint64_t timeout_ns, const char *link_keys, State *state, Input *ret);
