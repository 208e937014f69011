#include <string.h>
#include "h2frame.h"
#include "util.h"

size_t h2frame_read(H2FrameReader *reader, const uint8_t *data, size_t len, H2Frame *ret, bool *ret_complete) {
        size_t n = MIN(len, (size_t) (H2FRAME_HEADER_SIZE - reader->n));
        const uint8_t *h = reader->head;

        memcpy(reader->head + reader->n, data, n);
        reader->n = (uint8_t) (reader->n + n);

        if (reader->n < H2FRAME_HEADER_SIZE) {
                *ret_complete = false;
                return n;
        }

        *ret = (H2Frame){
                .length = (uint32_t) h[0] << 16 | (uint32_t) h[1] << 8 | h[2],
                .type = h[3],
                .flags = h[4],
                .stream = h2frame_u32(h + 5) & 0x7fffffffU,
        };
        reader->n = 0;
        *ret_complete = true;
        return n;
}

void h2frame_write(const H2Frame *frame, uint8_t ret[static H2FRAME_HEADER_SIZE]) {
        ret[0] = (uint8_t) (frame->length >> 16);
        ret[1] = (uint8_t) (frame->length >> 8);
        ret[2] = (uint8_t) frame->length;
        ret[3] = frame->type;
        ret[4] = frame->flags;
        ret[5] = (uint8_t) (frame->stream >> 24);
        ret[6] = (uint8_t) (frame->stream >> 16);
        ret[7] = (uint8_t) (frame->stream >> 8);
        ret[8] = (uint8_t) frame->stream;
}
