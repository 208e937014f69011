#pragma once

/*
 * Is anybody there, and what does it speak?
 *
 * Connects to an OTLP endpoint (configvalue_endpoint()) for a moment. Where plaintext is expected it sends HTTP/2's
 * greeting (the client's preface and empty SETTINGS), and no request. What answers to it may take spans or not: only an
 * export shows that.
 */

#include <stddef.h>
#include <stdint.h>
#include "configvalue.h"

#define ENDPOINT_TIMEOUT_MS 1000

/* What a peer says to HTTP/2's greeting. */
typedef enum EndpointPeer {
        ENDPOINT_HTTP2,
        ENDPOINT_HTTP1,
        ENDPOINT_TLS,    /* an alert: it wanted a TLS handshake */
        ENDPOINT_OTHER,  /* something else */
        ENDPOINT_CLOSED, /* nothing, it closed the connection */
        ENDPOINT_SILENT, /* nothing within ENDPOINT_TIMEOUT_MS */
} EndpointPeer;

/* What the first @n bytes, at least one, of a peer say. No I/O. */
EndpointPeer endpoint_recognize(const uint8_t *data, size_t n);

/* Connects and greets. Returns 0 with what the peer is, or as endpoint_dial(). */
int endpoint_greet(const ConfigEndpoint *endpoint, EndpointPeer *ret);

/* Connects. Returns 0 or a negative errno: -ECONNREFUSED, -ETIMEDOUT, -ENOENT (the name is not known) … */
int endpoint_dial(const ConfigEndpoint *endpoint);
