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
        bool port_given;                     /* else @port is the default */
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
 * Reads where an OTLP exporter sends to: the one grammar of podspan's own configuration, and of what `podspan doctor`
 * finds in the configurations of kubelet and CRI-O.
 *
 *     host:port, [v6]:port      @insecure decides on TLS; the port is 4317 if none is given
 *     dns:///host:port          the same in gRPC's words; a name server of its own (dns://SERVER/…) is refused
 *     http://…, https://…       plaintext, TLS; the port is 80 or 443 if none is given
 *     unix:PATH, unix:///PATH   an absolute path, plaintext
 *
 * One "/" may follow a port. Schemes are read in upper and lower case. Returns 0 or -EINVAL.
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
