#include <systemd/sd-daemon.h>
#include "notify.h"

static int on_watchdog(LoopTimer *timer) {
        (void) timer;
        (void) sd_notify(/* unset_environment= */ 0, "WATCHDOG=1");
        return 0;
}

int notify_init(Notify *notify, Loop *loop) {
        uint64_t watchdog_usec = 0;
        int r;

        r = sd_watchdog_enabled(/* unset_environment= */ 0, &watchdog_usec);
        if (r <= 0 || watchdog_usec == 0)
                return r;

        r = loop_timer_add(&notify->timer, loop, on_watchdog);
        if (r < 0)
                return r;
        return loop_timer_set(&notify->timer, 0, watchdog_usec * NSEC_PER_USEC / 2);
}

void notify_deinit(Notify *notify) {
        loop_timer_remove(&notify->timer);
}

void notify_ready(const char *status) {
        (void) sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status) {
        (void) sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(void) {
        (void) sd_notify(0, "STOPPING=1");
}
