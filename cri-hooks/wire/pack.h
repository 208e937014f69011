#pragma once

/*
 * Packing
 *
 * State as bytes, for the podspan-cri that takes over: numbers and byte strings one after the other, each read back in
 * the order in which it was written. Of this host only, so numbers are native. The writer remembers that it had no
 * memory, the reader that the input was not as it should be: both are asked once, at the end. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Pack {
        uint8_t *p; /* owned */
        size_t n;
        size_t cap;
        bool failed; /* without memory: what was written is of no use */
} Pack;

#define PACK_NULL \
        {}

void pack_deinit(Pack *pack);

void pack_number(Pack *pack, uint64_t number);
/* Bytes whose number the reader knows. */
void pack_fixed(Pack *pack, const void *bytes, size_t n);
void pack_bytes(Pack *pack, const void *bytes, size_t n);
/* NULL is fine, and is read as NULL. */
void pack_string(Pack *pack, const char *s);
/* Writes a number over the one at offset @at, which pack_number() wrote. */
void pack_patch(Pack *pack, size_t at, uint64_t number);

typedef struct Unpack {
        const uint8_t *p; /* borrowed */
        size_t n;         /* left */
        bool failed;
        bool no_memory; /* that is why */
} Unpack;

static inline Unpack unpack_make(const void *p, size_t n) {
        return (Unpack){ .p = p, .n = n };
}

/* A number of at most @max. 0 after a failure. */
uint64_t unpack_number(Unpack *unpack, uint64_t max);
static inline bool unpack_bool(Unpack *unpack) {
        return unpack_number(unpack, 1) != 0;
}
/* @ret is all zero after a failure. */
void unpack_fixed(Unpack *unpack, void *ret, size_t n);
/* At most @max bytes, in the input; never NULL. */
const uint8_t *unpack_bytes(Unpack *unpack, size_t max, size_t *ret_n);
/* A string of at most @max bytes without a NUL, owned by the caller; NULL if it was, and after a failure. */
char *unpack_string(Unpack *unpack, size_t max);
/* A string as above into a buffer of @size bytes with its NUL; "" if it was NULL. */
void unpack_text(Unpack *unpack, char *ret, size_t size);
/* Marks the input as wrong. Returns -EBADMSG. */
int unpack_fail(Unpack *unpack);

/* 0, -EBADMSG, or -ENOMEM. */
int unpack_result(const Unpack *unpack);
