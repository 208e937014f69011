#include <errno.h>
#include <string.h>
#include "h2append.h"

static size_t field_write(uint8_t *p, const char *name, size_t n_name, const char *value, size_t n_value) {
        uint8_t *begin = p;

        *p++ = 0x00;             /* literal without indexing, new name */
        *p++ = (uint8_t) n_name; /* no Huffman code, 7-bit prefix */
        memcpy(p, name, n_name);
        p += n_name;
        *p++ = (uint8_t) n_value;
        memcpy(p, value, n_value);
        p += n_value;

        return (size_t) (p - begin);
}

int h2append_plan(const H2Frame *frame, uint8_t padding, uint32_t max_frame_size, const char *name, const char *value,
                  H2Append *ret) {
        size_t n_name = strlen(name), n_value = strlen(value), size = 3 + n_name + n_value;
        H2Frame changed = *frame;

        if (frame->type != H2FRAME_HEADERS && frame->type != H2FRAME_CONTINUATION)
                return -EINVAL;
        if (!(frame->flags & H2FRAME_END_HEADERS) || padding > frame->length)
                return -EINVAL;
        if (n_name == 0 || n_name > H2APPEND_NAME_MAX || n_value == 0 || n_value > H2APPEND_VALUE_MAX)
                return -EINVAL;

        /* Less than 16384 is against RFC 9113, and a field that is not added cannot be what the receiver fails over. */
        if (size > max_frame_size)
                return -EMSGSIZE;

        if (frame->length + size <= max_frame_size && frame->length + size <= H2FRAME_MAX_LENGTH) {
                changed.length += (uint32_t) size;
                h2frame_write(&changed, ret->head);
                ret->at = H2FRAME_HEADER_SIZE + frame->length - padding;
                ret->size = field_write(ret->bytes, name, n_name, value, n_value);
                return 0;
        }

        changed.flags &= (uint8_t) ~H2FRAME_END_HEADERS;
        h2frame_write(&changed, ret->head);
        ret->at = H2FRAME_HEADER_SIZE + frame->length;
        h2frame_write(
                &(const H2Frame){
                        .length = (uint32_t) size,
                        .type = H2FRAME_CONTINUATION,
                        .flags = H2FRAME_END_HEADERS,
                        .stream = frame->stream,
                },
                ret->bytes);
        ret->size = H2FRAME_HEADER_SIZE + field_write(ret->bytes + H2FRAME_HEADER_SIZE, name, n_name, value, n_value);
        return 0;
}
