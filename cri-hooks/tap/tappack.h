#pragma once

/*
 * A tap's state, packed
 *
 * For the podspan-cri that takes over: where each direction is in its frames, both HPACK tables, the settings that wait
 * for their ACK, the calls that are followed. Only between header blocks, and while no call waits for its identity:
 * what is kept back is then at most the beginning of a frame header, which is not part of this. No I/O.
 */

#include "pack.h"
#include "tap.h"

#define TAPPACK_VERSION 1 /* of this and of the calls in it (callpack.h): to be raised with every change of either */

/* Can @tap be packed now? Not while a header block is open or a call waits. Plain forwarding always can. */
bool tappack_ready(const Tap *tap);

void tappack_write(const Tap *tap, Pack *pack, void (*write_call)(const TapStream *stream, Pack *pack));

/*
 * Fills @tap, which is fresh but for what it was made with, and has the @n_held bytes at @held kept back. @read_call
 * returns the call, with its stream's fields set, or NULL when @unpack has failed. Returns 0, -EBADMSG or -ENOMEM; @tap
 * is then to be made plain, which ends the calls that were read.
 */
int tappack_read(Tap *tap, Unpack *unpack, const uint8_t *held, size_t n_held,
                 TapStream *(*read_call)(Tap *tap, Unpack *unpack));
