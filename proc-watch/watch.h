#pragma once

/*
 * Watch
 *
 * Holds the parts together: events from the source into the story, whose spans go to the spool in batches, at most
 * EVENT_READER_NS and WATCH_FLUSH_NS after their end.
 */

#include "calls.h"
#include "config.h"
#include "link.h"
#include "source.h"
#include "spool.h"

#define WATCH_SPANS_MAX  256
#define WATCH_TRIM_SPANS 512
#define WATCH_FLUSH_NS   (100 * NSEC_PER_MSEC)
#define WATCH_LINGER_NS  (200 * NSEC_PER_MSEC) /* probes stay attached after the last command or call */
#define WATCH_RESYNC_NS  (10 * NSEC_PER_SEC)   /* after losses, at most this often */

typedef struct Watch Watch;

struct Watch {
        Loop *loop;
        void (*reload)(Watch *watch); /* SIGHUP came */
        Counters *counters;
        Spool spool;
        Context context;
        Link link;
        Story *story;
        Source *source;
        LoopTimer flush_timer;
        LoopTimer resync_timer;
        LoopTimer linger_timer;
        LoopSource calls_source; /* inotify of the live context files */
        Calls calls;
        uint64_t calls_ns; /* all calls that began until then are known */
        Opener *opener;    /* borrowed; set before watch_init(), or NULL */
        LoopSignal signals;
        const char *service_name;
        Span *spans[WATCH_SPANS_MAX];
        size_t n_spans;
        size_t n_untrimmed; /* spans since memory was given back */
        bool explains;      /* what time goes to is told */
        bool resync_pending;
        bool lingering; /* nothing is followed any more, but the probes are still attached */
        bool orphans;   /* found before their parents */
        bool has_now;
        Clk now; /* of this batch */
        int state_fd;
        int calls_fd;
};

#define WATCH_NULL                                                                                                  \
        {                                                                                                           \
                .spool = SPOOL_NULL, .context = CONTEXT_NULL, .flush_timer = LOOP_TIMER_NULL,                       \
                .resync_timer = LOOP_TIMER_NULL, .linger_timer = LOOP_TIMER_NULL, .calls_source = LOOP_SOURCE_NULL, \
                .signals = LOOP_SIGNAL_NULL, .state_fd = -EBADF, .calls_fd = -EBADF                                 \
        }

/*
 * Opens all but the kernel side. @state_fd is borrowed; bundles below the @n_roots @roots (borrowed) are read besides
 * those of the known engines. 0 or a negative errno.
 */
int watch_init(Watch *watch, const Config *config, int state_fd, const char *const *roots, size_t n_roots);
/* Other values from now on; what @config had before may go then. */
void watch_configure(Watch *watch, const Config *config);
void watch_deinit(Watch *watch);

/*
 * Loads the kernel side and takes over what runs already. Returns 0, -EOPNOTSUPP with what is missing in @ret_verdict
 * where it cannot run, or another negative errno.
 */
int watch_start(Watch *watch, LoaderVerdict *ret_verdict);

/* Until SIGTERM or SIGINT; Watch.reload has to be there by then. 0 or a negative errno. */
int watch_run(Watch *watch);
