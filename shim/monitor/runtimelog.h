#pragma once

/*
 * Runtime log
 *
 * Why an OCI runtime failed, in its own words: runc and crun write lines of JSON to the file of `--log` (with
 * `--log-format=json`), or text in one of several forms to standard error. No I/O.
 */

#include <stddef.h>

#define RUNTIMELOG_MAX      (16U * 1024) /* bytes looked at; the caller takes the last ones */
#define RUNTIMELOG_LINE_MAX (8U * 1024)  /* bytes of a line of JSON */
#define RUNTIMELOG_TEXT_MAX 1023         /* bytes of a message, as a span's value */

/*
 * Finds the message of the last line of level error or worse in the @len bytes at @s, whose first line may be half a
 * one; where no line is JSON, the last line with any text. Returns its length with the text and a NUL in @ret, 0 where
 * there is none.
 */
size_t runtimelog_message(const char *s, size_t len, char ret[static RUNTIMELOG_TEXT_MAX + 1]);

/* The value of the runtime's option `--log` among its @n global arguments, NULL where it has none. */
const char *runtimelog_path(const char *const *arguments, size_t n);
