#pragma once

/*
 * One key of a containerd configuration
 *
 * Walks TOML 1.0 far enough to know tables, keys and where values begin and end, and edits a single value without
 * touching any other byte. What is not TOML is refused; what is in a value, but for strings, is not looked at. No I/O.
 */

#include "bytes.h"

#define TOMLEDIT_PATH_MAX 512

/* Between the parts of a path: a key may contain dots. */
#define TOMLEDIT_SEP "\x1f"

typedef struct TomlItem {
        bool header;      /* [table]; else key = value */
        const char *path; /* of the table or the key, whole; an element of an array of tables has "[]" at its end */
        size_t line_from; /* the first byte of its line */
        size_t line_to;   /* behind its line end */
        size_t from, to;  /* the raw value */
} TomlItem;

/*
 * Calls @fn for every table header and every key in order; a return other than 0 ends the walk and is returned.
 * Otherwise 0, or -EBADMSG if this is not TOML.
 */
int tomledit_walk(const char *s, size_t n, int (*fn)(const TomlItem *item, void *userdata), void *userdata);

/* The value of the key @path as raw text, or of a string what it says; owned by the caller. 0, -ENOENT, -EBADMSG,
 * -ENOMEM. */
int tomledit_get(const char *s, size_t n, const char *path, char **ret);

/* Sets @key of the table @table ("": the top) to the raw @value: in its place, else as the table's first line, else in
 * a new table @header at the end. 0, -EBADMSG, -ENOMEM. */
int tomledit_set(const char *s, size_t n, const char *table, const char *header, const char *key, const char *value,
                 Bytes *ret);

/* Adds the string @element to the array of strings at the top-level @key, which becomes one if it is not there. */
int tomledit_add(const char *s, size_t n, const char *key, const char *element, Bytes *ret);
