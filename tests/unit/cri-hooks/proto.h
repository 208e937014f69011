#pragma once

/* Protobuf and gRPC messages for tests, written field by field. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

typedef struct Bytes {
        uint8_t *p;
        size_t n;
} Bytes;

/* Doubling: some are built from single bytes, and a sanitizer's realloc() always copies. */
static inline size_t bytes_room(size_t n) {
        size_t room = 64;

        while (room < n)
                room *= 2;
        return room;
}

static inline void bytes_add(Bytes *b, const void *p, size_t n) {
        if (!b->p || bytes_room(b->n + 1) < b->n + n + 1)
                b->p = realloc(b->p, bytes_room(b->n + n + 1));
        assert_non_null(b->p);
        if (n > 0)
                memcpy(b->p + b->n, p, n);
        b->n += n;
}

static inline void bytes_free(Bytes *b) {
        free(b->p);
        *b = (Bytes){};
}

static inline void pb_varint(Bytes *b, uint64_t v) {
        do {
                uint8_t c = (uint8_t) ((v & 0x7f) | (v > 0x7f ? 0x80 : 0));

                bytes_add(b, &c, 1);
                v >>= 7;
        } while (v > 0);
}

static inline void pb_bytes(Bytes *b, unsigned number, const void *p, size_t n) {
        pb_varint(b, (uint64_t) number << 3 | 2);
        pb_varint(b, n);
        bytes_add(b, p, n);
}

static inline void pb_string(Bytes *b, unsigned number, const char *s) {
        pb_bytes(b, number, s, strlen(s));
}

static inline void pb_number(Bytes *b, unsigned number, uint64_t v) {
        pb_varint(b, (uint64_t) number << 3);
        pb_varint(b, v);
}

/* Adds @message as a field and frees it. */
static inline void pb_message(Bytes *b, unsigned number, Bytes *message) {
        pb_bytes(b, number, message->p ? message->p : (const uint8_t *) "", message->n);
        bytes_free(message);
}

static inline void pb_map(Bytes *b, unsigned number, const char *key, const char *value) {
        Bytes entry = {};

        pb_string(&entry, 1, key);
        pb_string(&entry, 2, value);
        pb_message(b, number, &entry);
}

/* PodSandboxMetadata */
static inline void pb_pod(Bytes *b, unsigned number, const char *name, const char *uid, const char *ns,
                          unsigned attempt) {
        Bytes m = {};

        pb_string(&m, 1, name);
        pb_string(&m, 2, uid);
        pb_string(&m, 3, ns);
        if (attempt > 0)
                pb_number(&m, 4, attempt);
        pb_message(b, number, &m);
}

/* ContainerMetadata */
static inline void pb_container(Bytes *b, unsigned number, const char *name, unsigned attempt) {
        Bytes m = {};

        pb_string(&m, 1, name);
        if (attempt > 0)
                pb_number(&m, 2, attempt);
        pb_message(b, number, &m);
}

/* Puts gRPC's prefix before @message, which is freed. */
static inline Bytes grpc_wrap(Bytes *message, bool compressed) {
        Bytes out = {};
        uint8_t prefix[5] = { compressed, (uint8_t) (message->n >> 24), (uint8_t) (message->n >> 16),
                              (uint8_t) (message->n >> 8), (uint8_t) message->n };

        bytes_add(&out, prefix, sizeof(prefix));
        bytes_add(&out, message->p, message->n);
        bytes_free(message);
        return out;
}
