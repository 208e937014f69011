#include <errno.h>
#include <string.h>
#include "pbscan.h"
#include "util.h"

enum {
        STATE_TAG,
        STATE_LENGTH,
        STATE_VARINT,
        STATE_SKIP,
        STATE_CAPTURE,
        _STATE_MAX,
};

enum {
        WIRE_VARINT = 0,
        WIRE_FIXED64 = 1,
        WIRE_LENGTH = 2,
        WIRE_FIXED32 = 5,
};

void pbscan_init(PbScan *scan, const PbMessage *message, uint64_t len, PbFn fn, void *userdata) {
        scan->fn = fn;
        scan->userdata = userdata;
        scan->stack[0].message = message;
        scan->stack[0].end = len;
        scan->depth = 0;
        scan->state = STATE_TAG;
        scan->shift = 0;
        scan->failed = false;
        scan->pos = 0;
        scan->acc = 0;
        scan->left = 0;
        scan->field = NULL;
        scan->n_captured = 0;
}

static int fail(PbScan *scan) {
        scan->failed = true;
        return -EBADMSG;
}

static const PbField *find_field(const PbMessage *message, uint64_t number) {
        for (uint8_t i = 0; i < message->n_fields; i++)
                if (message->fields[i].number == number)
                        return &message->fields[i];
        return NULL;
}

/* Leaves the messages that end here. */
static void leave(PbScan *scan) {
        while (scan->depth > 0 && scan->pos == scan->stack[scan->depth].end) {
                uint8_t slot = scan->stack[scan->depth].message->end_slot;

                scan->depth--;
                if (slot)
                        scan->fn(scan->userdata, slot, &(const PbValue){});
        }
}

/* How many bytes are there until the end of the innermost message? */
static uint64_t room(const PbScan *scan) {
        return scan->stack[scan->depth].end - scan->pos;
}

static int begin_length(PbScan *scan, uint64_t len) {
        const PbField *field = scan->field;

        if (len > room(scan))
                return fail(scan);

        scan->state = STATE_SKIP;
        scan->left = len;

        if (!field)
                return 0;

        switch (field->kind) {
        case PB_STRING:
                scan->state = STATE_CAPTURE;
                scan->n_captured = 0;
                break;
        case PB_MESSAGE:
                if (scan->depth + 1 >= PBSCAN_DEPTH_MAX)
                        return fail(scan);
                scan->depth++;
                scan->stack[scan->depth].message = field->message;
                scan->stack[scan->depth].end = scan->pos + len;
                scan->state = STATE_TAG;
                if (field->slot)
                        scan->fn(scan->userdata, field->slot, &(const PbValue){});
                break;
        default:
                break;
        }
        return 0;
}

static int begin_field(PbScan *scan, uint64_t tag) {
        uint64_t number = tag >> 3;

        if (number == 0 || tag > UINT32_MAX)
                return fail(scan);

        scan->field = find_field(scan->stack[scan->depth].message, number);

        switch (tag & 7) {
        case WIRE_VARINT:
                if (scan->field && scan->field->kind != PB_VARINT)
                        scan->field = NULL;
                scan->state = STATE_VARINT;
                return 0;
        case WIRE_LENGTH:
                if (scan->field && scan->field->kind == PB_VARINT)
                        scan->field = NULL;
                scan->state = STATE_LENGTH;
                return 0;
        case WIRE_FIXED64:
        case WIRE_FIXED32:
                scan->left = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
                if (scan->left > room(scan))
                        return fail(scan);
                scan->state = STATE_SKIP;
                return 0;
        default:
                return fail(scan); /* groups: no proto3 message has them */
        }
}

/* A varint is whole. */
static int take_varint(PbScan *scan) {
        uint64_t v = scan->acc;

        scan->acc = 0;
        scan->shift = 0;

        switch (scan->state) {
        case STATE_TAG:
                return begin_field(scan, v);
        case STATE_LENGTH:
                return begin_length(scan, v);
        default:
                if (scan->field)
                        scan->fn(scan->userdata, scan->field->slot, &(const PbValue){ .number = v });
                scan->state = STATE_TAG;
                return 0;
        }
}

/* Captures from the @n bytes at @p, all of the string's that are here. */
static void capture(PbScan *scan, const uint8_t *p, size_t n) {
        bool whole = scan->n_captured == 0 && n == scan->left;
        PbValue value = {};

        if (whole) {
                value.s = (const char *) p;
                value.len = n;
        } else {
                size_t take = MIN(n, (size_t) (PBSCAN_CAPTURE_MAX - scan->n_captured));

                /* UINT32_MAX cannot be reached: what is beyond the buffer is not counted here. */
                memcpy(scan->captured + scan->n_captured, p, take);
                scan->n_captured += (uint32_t) take;
                value.s = scan->captured;
                value.len = scan->n_captured;
                value.cut = take < n;
        }

        scan->left -= n;
        if (scan->left == 0) {
                scan->fn(scan->userdata, scan->field->slot, &value);
                scan->state = STATE_TAG;
        }
}

int pbscan_feed(PbScan *scan, const uint8_t *data, size_t len) {
        const uint8_t *end;

        if (scan->failed)
                return -EBADMSG;

        if (len > scan->stack[0].end - scan->pos)
                len = (size_t) (scan->stack[0].end - scan->pos);
        end = data + len;

        while (data < end) {
                size_t n;
                uint8_t c;

                switch (scan->state) {
                case STATE_SKIP:
                        n = MIN((size_t) (end - data), scan->left);
                        scan->left -= n;
                        scan->pos += n;
                        data += n;
                        if (scan->left == 0) {
                                scan->state = STATE_TAG;
                                leave(scan);
                        }
                        continue;
                case STATE_CAPTURE:
                        n = MIN((size_t) (end - data), scan->left);
                        scan->pos += n;
                        capture(scan, data, n);
                        data += n;
                        if (scan->state == STATE_TAG)
                                leave(scan);
                        continue;
                default:
                        break;
                }

                if (room(scan) == 0)
                        return fail(scan); /* a varint that leaves its message */

                c = *data++;
                scan->pos++;
                if (scan->shift == 63 && c > 1)
                        return fail(scan);
                scan->acc |= (uint64_t) (c & 0x7f) << scan->shift;
                if (c & 0x80) {
                        scan->shift = (uint8_t) (scan->shift + 7);
                        continue;
                }
                if (take_varint(scan) < 0)
                        return -EBADMSG;

                /* Nothing more to read for an empty field or message. */
                if (scan->state == STATE_CAPTURE && scan->left == 0)
                        capture(scan, data, 0);
                else if (scan->state == STATE_SKIP && scan->left == 0)
                        scan->state = STATE_TAG;
                if (scan->state == STATE_TAG)
                        leave(scan);
        }

        return 0;
}

int pbscan_finish(PbScan *scan) {
        if (scan->failed)
                return -EBADMSG;
        if (scan->pos != scan->stack[0].end || scan->state != STATE_TAG || scan->shift != 0 || scan->depth != 0)
                return fail(scan);
        return 0;
}

/* The number of @message's field that has @field's place, from 1; 0: none. */
static uint64_t field_number(const PbMessage *message, const PbField *field) {
        for (uint8_t i = 0; field && i < message->n_fields; i++)
                if (&message->fields[i] == field)
                        return (uint64_t) i + 1;
        return 0;
}

static const PbField *field_at(const PbMessage *message, uint64_t number) {
        return number > 0 && number <= message->n_fields ? &message->fields[number - 1] : NULL;
}

/* The field by which the scan went from one message into the next. */
static uint64_t way_down(const PbMessage *outer, const PbMessage *inner) {
        for (uint8_t i = 0; i < outer->n_fields; i++)
                if (outer->fields[i].kind == PB_MESSAGE && outer->fields[i].message == inner)
                        return (uint64_t) i + 1;
        return 0;
}

void pbscan_pack(const PbScan *scan, Pack *pack) {
        pack_number(pack, scan->failed);
        pack_number(pack, scan->state);
        pack_number(pack, scan->shift);
        pack_number(pack, scan->pos);
        pack_number(pack, scan->acc);
        pack_number(pack, scan->left);
        pack_number(pack, scan->stack[0].end);
        pack_number(pack, scan->depth);
        for (unsigned i = 1; i <= scan->depth; i++) {
                pack_number(pack, way_down(scan->stack[i - 1].message, scan->stack[i].message));
                pack_number(pack, scan->stack[i].end);
        }
        /* Between two fields the last one may be of a message that was left. */
        pack_number(pack, scan->state == STATE_TAG ? 0 : field_number(scan->stack[scan->depth].message, scan->field));
        pack_bytes(pack, scan->captured, scan->state == STATE_CAPTURE ? scan->n_captured : 0);
}

/* Can the reading of a field like this be where it is said to be? */
static bool field_fits(const PbScan *scan) {
        switch (scan->state) {
        case STATE_CAPTURE:
                return scan->field && scan->field->kind == PB_STRING && scan->left > 0;
        case STATE_VARINT:
                return !scan->field || scan->field->kind == PB_VARINT;
        case STATE_LENGTH:
                return !scan->field || scan->field->kind != PB_VARINT;
        default:
                return true;
        }
}

int pbscan_unpack(PbScan *scan, Unpack *unpack) {
        const uint8_t *captured;
        size_t n;

        scan->failed = unpack_bool(unpack);
        scan->state = (uint8_t) unpack_number(unpack, _STATE_MAX - 1);
        scan->shift = (uint8_t) unpack_number(unpack, 63);
        scan->pos = unpack_number(unpack, UINT64_MAX);
        scan->acc = unpack_number(unpack, UINT64_MAX);
        scan->left = unpack_number(unpack, UINT64_MAX);
        scan->stack[0].end = unpack_number(unpack, UINT64_MAX);
        scan->depth = (uint8_t) unpack_number(unpack, PBSCAN_DEPTH_MAX - 1);
        for (unsigned i = 1; i <= scan->depth; i++) {
                const PbField *field = field_at(scan->stack[i - 1].message, unpack_number(unpack, UINT8_MAX));

                scan->stack[i].end = unpack_number(unpack, scan->stack[i - 1].end);
                if (unpack->failed || !field || field->kind != PB_MESSAGE)
                        return unpack_fail(unpack);
                scan->stack[i].message = field->message;
        }
        scan->field = field_at(scan->stack[scan->depth].message, unpack_number(unpack, UINT8_MAX));
        captured = unpack_bytes(unpack, sizeof(scan->captured), &n);
        memcpy(scan->captured, captured, n);
        scan->n_captured = (uint32_t) n;

        if (unpack->failed || scan->shift % 7 != 0 || scan->pos > scan->stack[scan->depth].end ||
            ((scan->state == STATE_SKIP || scan->state == STATE_CAPTURE) && scan->left > room(scan)) ||
            !field_fits(scan))
                return unpack_fail(unpack);
        return 0;
}
