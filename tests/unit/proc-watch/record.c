/* record: writes the process events of this machine to standard output until SIGTERM, for the tests of the story. */

#include <signal.h>
#include "recording.h"
#include "source.h"

static int on_event(void *userdata, const Event *event, const char *data, size_t size) {
        (void) userdata;
        recording_print(stdout, event, data, size);
        return 0;
}

static int on_lost(void *userdata, uint64_t n_lost) {
        (void) userdata;
        (void) fprintf(stderr, "record: %" PRIu64 " events lost\n", n_lost);
        return 0;
}

static void on_batch(void *userdata) {
        (void) userdata;
        (void) fflush(stdout);
}

static int on_signal(LoopSignal *signals, const struct signalfd_siginfo *info) {
        (void) info;
        loop_exit(signals->source.loop, 0);
        return 0;
}

int main(void) {
        _cleanup_(loop_freep) Loop *loop = NULL;
        _cleanup_(source_freep) Source *source = NULL;
        LoopSignal signals = LOOP_SIGNAL_NULL;
        LoaderVerdict verdict = {};
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        r = loop_new(&loop);
        if (r >= 0)
                r = loop_signal_add(&signals, loop, &set, on_signal);
        if (r >= 0)
                r = source_new(loop, on_event, on_lost, on_batch, NULL, &verdict, &source);
        if (r < 0) {
                (void) fprintf(stderr, "record: cannot watch processes: %s %s\n", strerror(-r), verdict.reason);
                return 1;
        }
        (void) fprintf(stderr, "record: ready\n");
        r = loop_run(loop);
        loop_signal_remove(&signals);
        return r < 0;
}
