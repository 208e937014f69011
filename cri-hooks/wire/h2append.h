#pragma once

/*
 * Appending one header field to a finished header block
 *
 * The field is a literal without indexing with a new name (RFC 7541, 6.2.2): it leaves the dynamic table of both ends
 * as it is, so the rest of the connection stays byte for byte what it was. It goes to the end of the block's last
 * fragment, before any padding; where the frame would exceed the peer's MAX_FRAME_SIZE, into a CONTINUATION of its own
 * after it. No I/O, no allocation.
 */

#include "h2frame.h"

#define H2APPEND_NAME_MAX  63
#define H2APPEND_VALUE_MAX 120 /* both lengths below 127 are one byte in HPACK */
#define H2APPEND_MAX       (H2FRAME_HEADER_SIZE + 3 + H2APPEND_NAME_MAX + H2APPEND_VALUE_MAX)

/* How to change the frame: its header is replaced by @head, and @size bytes are inserted @at, from the frame's
 * beginning. */
typedef struct H2Append {
        uint8_t head[H2FRAME_HEADER_SIZE];
        size_t at;
        size_t size;
        uint8_t bytes[H2APPEND_MAX];
} H2Append;

/*
 * Plans the change of @frame, a HEADERS or CONTINUATION frame with END_HEADERS and @padding bytes of padding at its
 * end. @max_frame_size is what the receiver announced. Returns 0; -EINVAL if the frame is no such frame or name or
 * value are too long or empty; -EMSGSIZE if the receiver takes no frame that the field fits in.
 */
int h2append_plan(const H2Frame *frame, uint8_t padding, uint32_t max_frame_size, const char *name, const char *value,
                  H2Append *ret);
