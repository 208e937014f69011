#pragma once

/*
 * Sync message
 *
 * What conmon tells its caller through a pipe: one line of JSON, `{"KEY": N}` or `{"KEY": N, "message": "TEXT"}`. No
 * I/O.
 */

#include <stddef.h>

/*
 * Formats the line with its newline; @text may be NULL or empty. In it, quotes, backslashes, slashes and control
 * characters are escaped, and what is not UTF-8 is left as it is. Returns 0 with @ret_len bytes owned by the caller, or
 * -ENOMEM.
 */
int syncmessage_format(const char *key, int number, const char *text, size_t text_len, char **ret, size_t *ret_len);
