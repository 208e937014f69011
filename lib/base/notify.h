#pragma once

/*
 * Service manager
 *
 * sd_notify(3)'s datagram and sd_listen_fds(3)'s descriptors, without libsystemd: it would be most of a small daemon's
 * memory.
 */

#include <stdbool.h>
#include <stdint.h>
#include "util.h"

#define NOTIFY_MAX 1024 /* bytes of a message of notify_sendf() */

/* Feeds the service manager's watchdog, also together with other messages ("READY=1\n" NOTIFY_ALIVE): only this line
 * does, no other message. */
#define NOTIFY_ALIVE "WATCHDOG=1"

/*
 * Sends @state ("READY=1", "RELOADING=1\nMONOTONIC_USEC=…", "WATCHDOG=1" …) to NOTIFY_SOCKET, a path or an abstract
 * name. Nothing happens without one; never waits; a failure is not one of the service.
 */
void notify_send(const char *state);
/* The same for a formatted message, cut after NOTIFY_MAX - 1 bytes. */
void notify_sendf(const char *format, ...) _printf_(1, 2);

/* The one listening socket passed by LISTEN_FDS to this very process, or -ENOENT; -EINVAL if it is not one listening
 * unix stream socket. */
int notify_listen_fd(void);

/*
 * Waits, at most @timeout_ms, until the service manager has looked at all that was sent before (BARRIER=1): what comes
 * from a process that has ended by then is thrown away.
 */
void notify_barrier(int timeout_ms);

/* WATCHDOG_USEC, where it is meant for this process: how often at least WATCHDOG=1 has to be sent, 0: not at all. */
uint64_t notify_watchdog_usec(void);
