#pragma once

/*
 * gRPC over HTTP/2: the small formats
 *
 * What a status code means for a span, the grpc-timeout and grpc-message headers, and what a call ended by HTTP/2 alone
 * means to a gRPC client (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "grpcstatus.h"

/* Does a server's span have status Error for it? (OpenTelemetry's rule for kind SERVER.) */
bool grpc_status_server_error(int status);

/* The header's value, 1 to 3 digits. Returns the number, or GRPC_UNKNOWN if it is none. */
int grpc_status_parse(const char *s, size_t len);

/* What a gRPC client makes of an HTTP status without grpc-status, and of the error code of an RST_STREAM. */
int grpc_status_from_http(unsigned http_status);
int grpc_status_from_h2(uint32_t error_code);

/* grpc-timeout: 1 to 8 digits and a unit of H, M, S, m, u, n. Returns 0 with nanoseconds, or -EBADMSG. */
int grpc_timeout_parse(const char *s, size_t len, uint64_t *ret_ns);

/*
 * Percent-decodes a grpc-message of @len bytes into @ret of @size bytes with a NUL; what does not fit is cut, never
 * inside a UTF-8 sequence; a malformed escape stands for itself, as gRPC demands. Returns the length written.
 */
size_t grpc_message_decode(const char *s, size_t len, char *ret, size_t size);
