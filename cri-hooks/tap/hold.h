#pragma once

/*
 * Held output
 *
 * What leaves a direction in which a header field may be appended: normally the very chunk that was read, by reference.
 * Bytes that may still have to change are copied and kept back; bytes are inserted into what is kept. Offsets count
 * from the first byte that has not been given out. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct Hold {
        uint8_t *p;
        size_t n; /* bytes in @p */
        size_t cap;
        size_t given;      /* of them given out by hold_end() */
        size_t base;       /* where the current chunk begins */
        const uint8_t *in; /* the current chunk */
        size_t in_len;
        bool copied; /* it is in @p */
} Hold;

#define HOLD_IOV 2

/* Begins with the chunk @in, which must stay until hold_end() was called and what it gave was used. */
int hold_begin(Hold *hold, const uint8_t *in, size_t len);

/* The offset of the chunk's byte @pos. */
static inline size_t hold_offset(const Hold *hold, size_t pos) {
        return hold->base + pos;
}

/*
 * Replaces @n_head bytes at @off and inserts @n bytes at @at behind it. Offsets of bytes from @at on grow by @n.
 * Returns 0, or -ENOMEM with nothing changed.
 */
int hold_insert(Hold *hold, size_t off, const uint8_t *head, size_t n_head, size_t at, const uint8_t *bytes, size_t n);

/*
 * Gives out everything before offset @from and keeps the rest, which then begins at offset 0. @ret is valid until
 * hold_done(). Without memory to keep it, gives out everything and returns -ENOMEM: @ret is valid all the same.
 */
int hold_end(Hold *hold, size_t from, struct iovec ret[static HOLD_IOV]);

/* What hold_end() gave has been used. */
void hold_done(Hold *hold);

/* Bytes kept back, between hold_done() and hold_begin(). */
static inline size_t hold_kept(const Hold *hold) {
        return hold->n - hold->given;
}

/* Keeps @n bytes back, as another hold did; this one is empty. 0 or -ENOMEM. */
int hold_restore(Hold *hold, const uint8_t *p, size_t n);

void hold_deinit(Hold *hold);
