#pragma once

/*
 * Text for people
 *
 * Strings out of spans are hostile: a pod's author chose them, and a terminal obeys what it prints. Whatever goes to a
 * terminal passes text_safe() first. Also the forms in which times, durations and sizes are written and read. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_DURATION_MAX 24
#define TEXT_SIZE_MAX     24
#define TEXT_TIME_MAX     48

/*
 * Decodes one UTF-8 sequence of the @len > 0 bytes at @s. Returns its length with the code point in @ret, or -EBADMSG
 * (truncated, overlong, a surrogate, above U+10FFFF): the first byte then stands for itself.
 */
int text_utf8_next(const char *s, size_t len, uint32_t *ret);

/* Could a terminal take this code point for a command, or show it so that other text is misread (C0, DEL, C1,
 * bidirectional and invisible controls)? */
bool text_codepoint_unsafe(uint32_t cp);

/*
 * Copies @s to @ret so that it can be printed: controls become \x1b or \u009b, bytes that are not UTF-8 \xff, and
 * unless @utf8 everything beyond ASCII too. Ends with NUL, never within an escape or a sequence; returns the length.
 */
size_t text_safe(char *ret, size_t size, const char *s, size_t len, bool utf8);

/* Columns that a string which text_safe() made takes on a terminal. */
size_t text_width(const char *s);

/* Copies as much of the safe string @s as @columns allow, with an ellipsis where something is missing. */
void text_fit(char *ret, size_t size, const char *s, size_t columns, bool utf8);

/* The same with what is missing in the middle: generated names differ in their ends. */
void text_fit_middle(char *ret, size_t size, const char *s, size_t columns, bool utf8);

/* "0.042 ms", "3.21 ms", "62.1 ms", "206 ms", "1.23 s", "2m 03s", "3h 12m", "2d 03h". */
void text_duration(uint64_t ns, char ret[static TEXT_DURATION_MAX]);

/* "0 B", "12.3 KiB", "512 MiB". */
void text_size(uint64_t bytes, char ret[static TEXT_SIZE_MAX]);

/* Local time, "2026-11-21 10:08:10.123"; with @zone also " +0100". */
void text_time(uint64_t ns, bool zone, char ret[static TEXT_TIME_MAX]);

/* RFC 3339 in UTC, "2026-11-21T09:08:10.123456789Z". */
void text_rfc3339(uint64_t ns, char ret[static TEXT_TIME_MAX]);

/*
 * Reads a point in time: a duration ("90s", "1h30m": so long before @now_ns), "now", "today", "yesterday", "@SECONDS"
 * since the epoch, or "YYYY-MM-DD[( |T)HH:MM[:SS]][Z]" (local time unless Z). Returns 0 or -EINVAL.
 */
int text_parse_time(const char *s, uint64_t now_ns, uint64_t *ret_ns);

/*
 * The name of a span as a table shows it: without what all have in common (the CRI service, a Go import path).
 * Points into @name.
 */
const char *text_span_name(const char *name);
