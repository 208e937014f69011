#pragma once

/*
 * Event loop
 *
 * epoll, timerfd, signalfd and pidfd behind one type of source, which is embedded in its owner: the handler recovers
 * the owner with container_of(), so there is no allocation per source and no void pointer. A turn is bounded: it takes
 * one snapshot of at most LOOP_EVENTS_MAX ready sources; a handler may add and remove any source, itself included, and
 * may free the owner of a source it has removed. After the sources, the turn's deferred work runs (loop_defer()).
 *
 * A handler returns 0 to go on, negative to end loop_run() with that value. A peer's fault is consumed in the handler.
 */

#include <stdint.h>
#include <signal.h>
#include <sys/signalfd.h>
#include "util.h"

#define LOOP_EVENTS_MAX 64

typedef struct Loop Loop;
typedef struct LoopSource LoopSource;
typedef struct LoopTimer LoopTimer;
typedef struct LoopSignal LoopSignal;
typedef struct LoopDefer LoopDefer;
typedef int (*LoopSourceFn)(LoopSource *source, uint32_t events);
typedef int (*LoopTimerFn)(LoopTimer *timer);
typedef int (*LoopSignalFn)(LoopSignal *source, const struct signalfd_siginfo *info);
typedef int (*LoopDeferFn)(LoopDefer *defer);

struct LoopSource {
        Loop *loop; /* NULL: not in a loop */
        LoopSourceFn fn;
        int fd;        /* borrowed */
        uint32_t mask; /* epoll events, level-triggered unless EPOLLET is in it */
        int slot;      /* place in the turn's snapshot, -1 outside */
};

struct LoopTimer {
        LoopSource source;
        LoopTimerFn fn;
        int fd; /* own timerfd */
};

struct LoopSignal {
        LoopSource source;
        LoopSignalFn fn;
        int fd; /* own signalfd */
};

struct LoopDefer {
        Loop *loop; /* NULL: not queued */
        LoopDeferFn fn;
        LoopDefer *next;
};

#define LOOP_SOURCE_NULL \
        { .fd = -EBADF, .slot = -1 }
#define LOOP_TIMER_NULL \
        { .source = LOOP_SOURCE_NULL, .fd = -EBADF }
#define LOOP_SIGNAL_NULL \
        { .source = LOOP_SOURCE_NULL, .fd = -EBADF }

/* 0 with a loop owned by the caller, or a negative errno. */
int loop_new(Loop **ret);
Loop *loop_free(Loop *loop);
DEFINE_CLEANUP(Loop *, loop_free);

/* Runs turns until loop_exit() or a handler's negative return. Returns the exit code or that value. */
int loop_run(Loop *loop);
/* One turn, waiting at most @timeout_ms (-1: for ever). 0, or a negative errno or handler result. */
int loop_turn(Loop *loop, int timeout_ms);
void loop_exit(Loop *loop, int code);

/* Watches @fd (borrowed; remove the source before closing it). */
int loop_source_add(LoopSource *source, Loop *loop, int fd, uint32_t mask, LoopSourceFn fn);
/* Changes the mask; no system call if it is the same. */
int loop_source_set(LoopSource *source, uint32_t mask);
/* Out of the loop; harmless where it is not in one. The descriptor must still be open: that is asserted. */
void loop_source_remove(LoopSource *source);

/* A timer, not armed yet. CLOCK_MONOTONIC. */
int loop_timer_add(LoopTimer *timer, Loop *loop, LoopTimerFn fn);
/* Fires after @delay_ns (0: as soon as possible) and then, unless 0, every @period_ns. */
int loop_timer_set(LoopTimer *timer, uint64_t delay_ns, uint64_t period_ns);
int loop_timer_stop(LoopTimer *timer);
void loop_timer_remove(LoopTimer *timer);

/* Blocks the signals of @set in this thread and delivers them here. */
int loop_signal_add(LoopSignal *signal_source, Loop *loop, const sigset_t *set, LoopSignalFn fn);
void loop_signal_remove(LoopSignal *signal_source);

/* Opens a pidfd for @pid (the caller closes it after removing the source) and calls @fn once it has ended. */
int loop_pidfd_add(LoopSource *source, Loop *loop, pid_t pid, LoopSourceFn fn, int *ret_pidfd);

/* Runs @defer's function once, after the sources of this turn; queued twice is once. */
void loop_defer(LoopDefer *defer, Loop *loop, LoopDeferFn fn);
void loop_defer_cancel(LoopDefer *defer);
