#pragma once

/*
 * Watchdog
 *
 * Feeds the service manager's watchdog from the main loop, so that WATCHDOG=1 says that the loop runs.
 */

#include "loop.h"

typedef struct Watchdog {
        LoopTimer timer;
} Watchdog;

#define WATCHDOG_NULL \
        { .timer = LOOP_TIMER_NULL }

/* Starts feeding the watchdog if WATCHDOG_USEC asks for it. Returns 0 or a negative errno. */
int watchdog_init(Watchdog *watchdog, Loop *loop);
void watchdog_deinit(Watchdog *watchdog);
