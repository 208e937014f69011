#pragma once

/*
 * Notify proxy
 *
 * A socket for sd_notify(3) inside of a container's bundle, from which notifyfilter.h lets through to the host's what
 * may go through. Neither side is ever waited for.
 */

#include <sys/un.h>
#include "loop.h"

typedef struct NotifyProxy {
        LoopSource source;
        int fd;      /* the container's side */
        int host_fd; /* the host's, not connected: it may be there later */
        struct sockaddr_un host;
        unsigned n_forwarded;
        unsigned n_dropped;
} NotifyProxy;

#define NOTIFYPROXY_NULL \
        { .source = LOOP_SOURCE_NULL, .fd = -EBADF, .host_fd = -EBADF }

/*
 * Makes notify/notify.sock (mode 0777) below the bundle @dir_fd, in the place of an earlier one, and forwards to
 * @host_path; one that begins with "@" is abstract. Returns 0 or a negative errno.
 */
int notifyproxy_open(NotifyProxy *proxy, Loop *loop, int dir_fd, const char *host_path);
void notifyproxy_close(NotifyProxy *proxy);

/* Forwards what is waiting, for the end. */
void notifyproxy_drain(NotifyProxy *proxy);
