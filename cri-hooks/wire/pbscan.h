#pragma once

/*
 * Streaming protobuf reader
 *
 * Reads one message of the wire format over any segmentation, in constant memory: fields that a table does not name are
 * skipped by their length, nested messages are entered only where the table says so, strings are captured up to
 * PBSCAN_CAPTURE_MAX bytes. What follows megabytes of unwanted fields is found all the same. No I/O, no allocation.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "pack.h"

#define PBSCAN_CAPTURE_MAX 512 /* bytes of a string that are kept; the rest is cut */
#define PBSCAN_DEPTH_MAX   8   /* nested messages a table may name */

typedef enum PbKind {
        PB_STRING,
        PB_VARINT,
        PB_MESSAGE,
} PbKind;

typedef struct PbMessage PbMessage;

typedef struct PbField {
        uint32_t number;
        uint8_t kind; /* PbKind; a field of another wire type is skipped */
        uint8_t slot; /* what the consumer calls it; 0 with PB_MESSAGE: none */
        const PbMessage *message;
} PbField;

struct PbMessage {
        const PbField *fields;
        uint8_t n_fields;
        uint8_t end_slot; /* reported at the message's end; 0: not */
};

typedef struct PbValue {
        const char *s;   /* PB_STRING: valid in the call only, no NUL */
        size_t len;      /* at most PBSCAN_CAPTURE_MAX unless the input held it in one piece */
        bool cut;        /* there was more */
        uint64_t number; /* PB_VARINT */
} PbValue;

/* Called for each field named by the table, in order, and for the end of messages with an end_slot (@value is then
 * empty). */
typedef void (*PbFn)(void *userdata, uint8_t slot, const PbValue *value);

typedef struct PbScan {
        PbFn fn;
        void *userdata;
        struct {
                const PbMessage *message;
                uint64_t end;
        } stack[PBSCAN_DEPTH_MAX];
        uint8_t depth; /* index of the innermost */
        uint8_t state;
        uint8_t shift;
        bool failed;
        uint64_t pos;  /* bytes read */
        uint64_t acc;  /* varint being read */
        uint64_t left; /* to skip or capture */
        const PbField *field;
        uint32_t n_captured;
        char captured[PBSCAN_CAPTURE_MAX];
} PbScan;

/* Begins a message of @len bytes described by @message. */
void pbscan_init(PbScan *scan, const PbMessage *message, uint64_t len, PbFn fn, void *userdata);

/*
 * Reads the next @len bytes; more than the message has are ignored. Returns 0, or -EBADMSG once the input is malformed
 * (what was reported before stands; nothing more will be).
 */
int pbscan_feed(PbScan *scan, const uint8_t *data, size_t len);

/* Reports the end of messages that end with the input. Returns 0 if the whole message was read and well-formed. */
int pbscan_finish(PbScan *scan);

/* Packs how far the reading of a message is. */
void pbscan_pack(const PbScan *scan, Pack *pack);
/* Goes on from there; @scan was made by pbscan_init() for the same kind of message. 0 or -EBADMSG. */
int pbscan_unpack(PbScan *scan, Unpack *unpack);
