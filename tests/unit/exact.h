#pragma once

/* Inputs in buffers of exactly their size, so that a sanitizer sees the first byte too many. */

#include <stdlib.h>
#include <string.h>

static inline char *exact(const char *s, size_t len) {
        char *copy = malloc(len > 0 ? len : 1);

        if (copy && len > 0)
                memcpy(copy, s, len);
        return copy;
}
