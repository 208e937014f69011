#pragma once

/*
 * Nesting depth of a protobuf message
 *
 * protobuf-c descends into nested messages by recursion without a bound, and OTLP's AnyValue nests in itself: some
 * megabytes of "list in a list" would end the stack. So the depth is looked at before anything is unpacked. No I/O.
 */

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Walks the messages within the @size bytes at @data, a message of type @type. Returns 0, -ELOOP if they nest deeper
 * than @max_depth (1: no nested message), or -EBADMSG where a field is cut short or no field at all.
 */
int wiredepth_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t size, unsigned max_depth);
