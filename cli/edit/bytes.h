#pragma once

/*
 * Bytes
 *
 * An owned piece of a file's text with its length, and the one edit that all editors of configuration files are made
 * of. What an editor does not name stays as it is, to the byte. No I/O.
 */

#include <stdbool.h>
#include "util.h"

/* No configuration file that is edited here is longer. */
#define BYTES_FILE_MAX (1024U * 1024)

typedef struct Bytes {
        char *p; /* with a NUL after it; NULL: nothing is held */
        size_t n;
} Bytes;

#define BYTES_NULL \
        {}

void bytes_deinit(Bytes *bytes);
#define _cleanup_bytes_ _cleanup_(bytes_deinit)

/* Copies. Returns 0 or -ENOMEM. */
int bytes_dup(const void *p, size_t n, Bytes *ret);

/* @s with [@from, @to) replaced by @insert. Returns 0 or -ENOMEM. */
int bytes_splice(const char *s, size_t n, size_t from, size_t to, const char *insert, size_t insert_n, Bytes *ret);

/* Gives @to what @from holds; what @to held is freed. */
void bytes_move(Bytes *to, Bytes *from);

static inline bool bytes_equal(const Bytes *a, const Bytes *b) {
        return a->n == b->n && (a->n == 0 || __builtin_memcmp(a->p, b->p, a->n) == 0);
}
