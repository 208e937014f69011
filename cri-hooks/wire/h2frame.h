#pragma once

/*
 * HTTP/2 frame headers
 *
 * Reads the 9 bytes of RFC 9113, section 4.1, over any segmentation, and writes them. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2FRAME_HEADER_SIZE 9
#define H2FRAME_PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2FRAME_PREFACE_LEN 24

#define H2FRAME_DEFAULT_MAX_FRAME_SIZE 16384U
#define H2FRAME_MAX_LENGTH             0xffffffU

typedef enum H2FrameType {
        H2FRAME_DATA = 0,
        H2FRAME_HEADERS = 1,
        H2FRAME_PRIORITY = 2,
        H2FRAME_RST_STREAM = 3,
        H2FRAME_SETTINGS = 4,
        H2FRAME_PUSH_PROMISE = 5,
        H2FRAME_PING = 6,
        H2FRAME_GOAWAY = 7,
        H2FRAME_WINDOW_UPDATE = 8,
        H2FRAME_CONTINUATION = 9,
} H2FrameType;

enum {
        H2FRAME_END_STREAM = 0x01, /* DATA, HEADERS */
        H2FRAME_ACK = 0x01,        /* SETTINGS, PING */
        H2FRAME_END_HEADERS = 0x04,
        H2FRAME_PADDED = 0x08,
        H2FRAME_HAS_PRIORITY = 0x20, /* HEADERS */
};

enum {
        H2FRAME_SETTINGS_HEADER_TABLE_SIZE = 1,
        H2FRAME_SETTINGS_MAX_FRAME_SIZE = 5,
        H2FRAME_SETTINGS_MAX_HEADER_LIST_SIZE = 6,
};

typedef struct H2Frame {
        uint32_t length; /* of the payload */
        uint8_t type;    /* an H2FrameType or one of the future */
        uint8_t flags;
        uint32_t stream; /* without the reserved bit */
} H2Frame;

typedef struct H2FrameReader {
        uint8_t head[H2FRAME_HEADER_SIZE];
        uint8_t n; /* bytes of the header seen so far, below 9 */
} H2FrameReader;

/*
 * Takes bytes of a frame header from the @len at @data. Returns how many it took; when the header is whole, fills
 * @ret, sets @ret_complete and is ready for the next one. The raw header stays in reader->head until then.
 */
size_t h2frame_read(H2FrameReader *reader, const uint8_t *data, size_t len, H2Frame *ret, bool *ret_complete);

void h2frame_write(const H2Frame *frame, uint8_t ret[static H2FRAME_HEADER_SIZE]);

static inline uint32_t h2frame_u32(const uint8_t *p) {
        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static inline uint16_t h2frame_u16(const uint8_t *p) {
        return (uint16_t) (p[0] << 8 | p[1]);
}
