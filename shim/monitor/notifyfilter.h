#pragma once

/*
 * Notify filter
 *
 * What of a container's sd_notify(3) datagram may reach the host's service manager: only assignments that say how the
 * service is, none that hand over descriptors or name processes. No I/O.
 */

#include <stddef.h>

#define NOTIFYFILTER_MAX 32768 /* bytes of a datagram; the rest of a longer one is lost */

/*
 * Copies the allowed lines of the @len bytes at @s, separated by newlines, to @ret of at least @len bytes. Returns
 * their length, 0 where none is allowed.
 */
size_t notifyfilter_run(const char *s, size_t len, char *ret);
