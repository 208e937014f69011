#pragma once

/*
 * Is anybody there?
 *
 * Connects to an OTLP endpoint as configurations write it, for a moment: nothing is sent.
 */

#include <stdbool.h>
#include <stddef.h>

#define ENDPOINT_HOST_MAX   256
#define ENDPOINT_TIMEOUT_MS 1000

typedef struct Endpoint {
        char host[ENDPOINT_HOST_MAX]; /* or the path of a Unix socket */
        char port[8];                 /* "" with a Unix socket */
} Endpoint;

/* Takes HOST:PORT, [V6]:PORT, SCHEME://HOST:PORT[/…], unix:PATH apart. Returns 0 or -EINVAL. No I/O. */
int endpoint_parse(const char *s, Endpoint *ret);

/* Connects. Returns 0 or a negative errno: -ECONNREFUSED, -ETIMEDOUT, -ENOENT (the name is not known) … */
int endpoint_dial(const Endpoint *endpoint);
