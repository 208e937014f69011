#pragma once

/*
 * Service manager
 *
 * sd_notify(3): READY, STATUS, STOPPING, and the watchdog, fed from the main loop so that it means something. Without a
 * service manager nothing happens. Failures are ignored: nobody is waiting then.
 */

#include "loop.h"

typedef struct Notify {
        LoopTimer timer;
} Notify;

#define NOTIFY_NULL \
        { .timer = LOOP_TIMER_NULL }

/* Starts feeding the watchdog if WATCHDOG_USEC asks for it. 0 or a negative errno. */
int notify_init(Notify *notify, Loop *loop);
void notify_deinit(Notify *notify);

void notify_ready(const char *status);
void notify_status(const char *status);
void notify_stopping(void);
