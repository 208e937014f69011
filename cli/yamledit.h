#pragma once

/*
 * One key of a KubeletConfiguration
 *
 * Finds and sets a scalar of a YAML document in block style, or of a JSON one (YAML's flow style), without touching any
 * other byte: comments, order, quotes and line ends stay. Of several documents in a file the one whose kind is
 * KubeletConfiguration counts, or the first. Not a YAML parser: what it cannot be sure of it refuses. No I/O.
 */

#include "bytes.h"

typedef struct YamlScalar {
        size_t from; /* the raw value, quotes included */
        size_t to;
        char *value; /* decoded, owned by the caller */
} YamlScalar;

/*
 * Finds @key, "name" or "map.name". Returns 0, -ENOENT, -EBADMSG (not the structure it understands, or the key is there
 * twice), -EOPNOTSUPP (the value is no plain scalar on one line) or -ENOMEM.
 */
int yamledit_find(const char *s, size_t n, const char *key, YamlScalar *ret);

/* Sets the top-level @key to the string @value: in its place, with the quotes that are there, or as a new last line of
 * the document. @value has no control characters, quotes or backslashes (-EINVAL). Errors as above. */
int yamledit_set(const char *s, size_t n, const char *key, const char *value, Bytes *ret);
