#include <assert.h>
#include <errno.h>
#include "wiredepth.h"

/* The largest field number there is. */
#define FIELD_MAX ((1U << 29) - 1)

/* Protobuf encoding, "Message Structure". */
enum {
        WIRE_VARINT = 0,
        WIRE_I64 = 1,
        WIRE_LEN = 2,
        WIRE_I32 = 5,
};

/* Returns the bytes consumed, or -EBADMSG. */
static int read_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret) {
        uint64_t value = 0;

        for (unsigned i = 0; i < 10; i++) {
                if (p + i == end)
                        return -EBADMSG;
                value |= (uint64_t) (p[i] & 0x7f) << (7 * i);
                if (!(p[i] & 0x80)) {
                        *ret = value;
                        return (int) i + 1;
                }
        }

        return -EBADMSG;
}

int wiredepth_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t size, unsigned max_depth) {
        const uint8_t *p = data, *end;

        assert(type);
        assert(data || size == 0);

        if (max_depth == 0)
                return -ELOOP;
        if (size == 0)
                return 0;
        end = data + size;

        while (p < end) {
                const ProtobufCFieldDescriptor *field;
                uint64_t tag, n;
                int r;

                r = read_varint(p, end, &tag);
                if (r < 0)
                        return r;
                p += r;
                /* protobuf-c lets some of these pass and would carry them along, for a collector to refuse. */
                if (tag >> 3 == 0 || tag >> 3 > FIELD_MAX)
                        return -EBADMSG;

                switch (tag & 7) {
                case WIRE_VARINT:
                        r = read_varint(p, end, &n);
                        if (r < 0)
                                return r;
                        n = (uint64_t) r;
                        break;
                case WIRE_I64:
                        n = 8;
                        break;
                case WIRE_I32:
                        n = 4;
                        break;
                case WIRE_LEN:
                        r = read_varint(p, end, &n);
                        if (r < 0)
                                return r;
                        p += r;
                        break;
                default:
                        return -EBADMSG;
                }
                if (n > (size_t) (end - p))
                        return -EBADMSG;

                field = (tag & 7) == WIRE_LEN ? protobuf_c_message_descriptor_get_field(type, (unsigned) (tag >> 3))
                                              : NULL;
                if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) {
                        r = wiredepth_check(field->descriptor, p, n, max_depth - 1);
                        if (r < 0)
                                return r;
                }
                p += n;
        }

        return 0;
}
