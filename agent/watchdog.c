#include "notify.h"
#include "watchdog.h"

static int on_timer(LoopTimer *timer) {
        (void) timer;
        notify_send(NOTIFY_ALIVE);
        return 0;
}

int watchdog_init(Watchdog *watchdog, Loop *loop) {
        uint64_t usec = notify_watchdog_usec();
        int r;

        if (usec == 0)
                return 0;
        r = loop_timer_add(&watchdog->timer, loop, on_timer);
        if (r < 0)
                return r;
        return loop_timer_set(&watchdog->timer, 0, usec * NSEC_PER_USEC / 2);
}

void watchdog_deinit(Watchdog *watchdog) {
        loop_timer_remove(&watchdog->timer);
}
