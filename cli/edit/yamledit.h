#pragma once

/*
 * One key of a KubeletConfiguration
 *
 * Finds and sets a scalar of a YAML document, JSON included, without touching any other byte: comments, order, quotes
 * and line ends stay. Of several documents in a file the one whose kind is KubeletConfiguration counts, or the first
 * that has content. libyaml finds the place. The edited text is parsed anew, and must mean what the text meant before
 * but for that key; otherwise the edit is refused. No I/O.
 */

#include "yamldoc.h"

typedef struct YamlScalar {
        size_t from; /* the raw value, quotes included */
        size_t to;
        unsigned line;
        char *value; /* decoded, owned by the caller */
} YamlScalar;

/*
 * Finds @key, "name" or "map.name". Returns 0; -ENOENT (absent, or null); -EBADMSG (not YAML, no map, or a key is there
 * twice) or -EOPNOTSUPP (no scalar, or one that comes from an alias, a merge or a tag), both with *@reterr set; or
 * -ENOMEM.
 */
int yamledit_find(const char *s, size_t n, const char *key, YamlScalar *ret, YamlProblem *reterr);

/*
 * Sets the top-level @key to the string @value: in its place, with the quotes that are there, or as a new line of the
 * document. @value has no blanks, control characters, quotes or backslashes (-EINVAL). Errors as above; -EOPNOTSUPP
 * also where the edit would change anything else.
 */
int yamledit_set(const char *s, size_t n, const char *key, const char *value, Bytes *ret, YamlProblem *reterr);
