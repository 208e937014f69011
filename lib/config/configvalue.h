#pragma once

/*
 * Configuration values
 *
 * The parsers of what stands behind a key or in an OTEL_* variable. No I/O. A value that is refused comes with a reason
 * in @ret_reason: static text which continues "KEY: ".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIGVALUE_HOST_MAX 253

typedef struct ConfigEndpoint {
        bool tls;
        bool local;                          /* a unix socket: @path; else @host and @port */
        char host[CONFIGVALUE_HOST_MAX + 1]; /* without the brackets of an IPv6 address */
        char path[108];                      /* as sockaddr_un has room for */
        uint16_t port;
} ConfigEndpoint;

/*
 * Takes a value out of the @len bytes that follow "KEY =": TOML's quotes ("…" with \" and \\, '…' as it stands) are
 * removed, as are blanks and a comment after the value: '#' or ';' after a quoted value, or after a blank.
 * Returns 0 with NUL-terminated text in @ret (@size bytes), or -EINVAL.
 */
int configvalue_unquote(const char *s, size_t len, char *ret, size_t size, const char **ret_reason);

/*
 * Reads "host:port", "[v6]:port", either with http:// (plaintext) or https:// (TLS) before and one "/" behind, or
 * "unix:PATH", "unix:///PATH". Without a scheme @insecure decides and the port is 4317 where there is none; with one,
 * it is the scheme's. Returns 0 or -EINVAL.
 */
int configvalue_endpoint(const char *s, bool insecure, ConfigEndpoint *ret, const char **ret_reason);

/*
 * Calls @fn for each pair of "name=value,name=value" (W3C baggage without properties): blanks around names and values
 * are dropped, empty members skipped, percent-encoding decoded. A negative return of @fn ends it and is returned, else
 * 0, -EINVAL or -ENOMEM.
 */
int configvalue_pairs(const char *s, int (*fn)(const char *name, const char *value, void *userdata), void *userdata,
                      const char **ret_reason);

/* Can these be sent as gRPC metadata? @name in lower case. Returns 0 or -EINVAL. */
int configvalue_header_check(const char *name, const char *value, const char **ret_reason);
