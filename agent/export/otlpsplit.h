#pragma once

/*
 * OTLP split
 *
 * Takes a part of the spans of a serialized TracesData, for a collector that refuses the whole as too large. Works on
 * the wire format, so unknown fields stay and nothing is unpacked. No I/O.
 */

#include <stddef.h>
#include <stdint.h>

/*
 * Copies the spans number @first to @first + @n - 1 (from 0, in the order of the message) with their resources and
 * scopes; resources and scopes without any of them are left out. Returns 0 with a buffer owned by the caller, its size
 * and the number of spans in it (fewer than @n at the end, 0 beyond it), -EBADMSG, or -ENOMEM.
 */
int otlpsplit_take(const uint8_t *data, size_t size, size_t first, size_t n, uint8_t **ret, size_t *ret_size,
                   size_t *ret_n);
