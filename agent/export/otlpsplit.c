#include <string.h>
#include "otlpsplit.h"
#include "util.h"

#define VARINT_MAX 10

enum {
        WIRE_VARINT = 0,
        WIRE_FIXED64 = 1,
        WIRE_LENGTH = 2,
        WIRE_FIXED32 = 5,
};

/* TracesData.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans. */
static const uint64_t nested[] = { 1, 2, 2 };

typedef struct Field {
        const uint8_t *begin; /* its tag */
        const uint8_t *end;
        uint64_t number;
        unsigned wire;
        const uint8_t *payload; /* of WIRE_LENGTH, up to @end */
} Field;

typedef struct Split {
        uint8_t *out;
        size_t n_out;
        size_t at; /* spans seen */
        size_t first;
        size_t n;
        size_t n_taken;
} Split;

static int read_varint(const uint8_t **p, const uint8_t *end, uint64_t *ret) {
        uint64_t value = 0;

        for (unsigned i = 0; i < VARINT_MAX && *p < end; i++) {
                uint8_t byte = *(*p)++;

                value |= (uint64_t) (byte & 0x7f) << (7 * i);
                if (byte < 0x80) {
                        *ret = value;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int read_field(const uint8_t *p, const uint8_t *end, Field *ret) {
        Field field = { .begin = p };
        uint64_t tag, size = 0;
        int r;

        r = read_varint(&p, end, &tag);
        if (r < 0)
                return r;
        field.number = tag >> 3;
        field.wire = tag & 7;
        switch (field.wire) {
        case WIRE_VARINT:
                r = read_varint(&p, end, &size);
                size = 0;
                break;
        case WIRE_FIXED64:
                size = 8;
                break;
        case WIRE_FIXED32:
                size = 4;
                break;
        case WIRE_LENGTH:
                r = read_varint(&p, end, &size);
                break;
        default:
                r = -EBADMSG;
        }
        if (r < 0 || field.number == 0 || size > (uint64_t) (end - p))
                return -EBADMSG;

        field.payload = p;
        field.end = p + size;
        *ret = field;
        return 0;
}

static void put(Split *split, const uint8_t *begin, const uint8_t *end) {
        memcpy(split->out + split->n_out, begin, (size_t) (end - begin));
        split->n_out += (size_t) (end - begin);
}

static size_t write_varint(uint8_t *out, uint64_t value) {
        size_t n = 0;

        while (value >= 0x80) {
                out[n++] = (uint8_t) (value | 0x80);
                value >>= 7;
        }
        out[n++] = (uint8_t) value;
        return n;
}

/* Nests as deep as @nested has entries. */
static int filter(Split *split, unsigned level, const uint8_t *p, const uint8_t *end) {
        Field field;
        int r;

        for (; p < end; p = field.end) {
                size_t begin = split->n_out, n_taken = split->n_taken, n_head, size;
                uint8_t head[2 * VARINT_MAX];

                r = read_field(p, end, &field);
                if (r < 0)
                        return r;
                if (field.number != nested[level] || field.wire != WIRE_LENGTH) {
                        put(split, field.begin, field.end);
                        continue;
                }
                if (level + 1 == ARRAY_SIZE(nested)) {
                        if (split->at >= split->first && split->at - split->first < split->n) {
                                put(split, field.begin, field.end);
                                split->n_taken++;
                        }
                        split->at++;
                        continue;
                }

                r = filter(split, level + 1, field.payload, field.end);
                if (r < 0)
                        return r;
                size = split->n_out - begin;
                split->n_out = begin;
                if (split->n_taken == n_taken)
                        continue;
                /* What was left out makes room: tag and length are no longer than they were. */
                n_head = write_varint(head, field.number << 3 | WIRE_LENGTH);
                n_head += write_varint(head + n_head, size);
                memmove(split->out + begin + n_head, split->out + begin, size);
                memcpy(split->out + begin, head, n_head);
                split->n_out += n_head + size;
        }
        return 0;
}

int otlpsplit_take(const uint8_t *data, size_t size, size_t first, size_t n, uint8_t **ret, size_t *ret_size,
                   size_t *ret_n) {
        Split split = { .first = first, .n = n };
        _cleanup_free_ uint8_t *out = NULL;
        int r;

        out = malloc(MAX(size, (size_t) 1));
        if (!out)
                return -ENOMEM;
        split.out = out;
        r = filter(&split, 0, data, data + size);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(out);
        *ret_size = split.n_out;
        *ret_n = split.n_taken;
        return 0;
}
