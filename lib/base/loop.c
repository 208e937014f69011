/*
 * The snapshot of a turn holds pointers to sources, and each of these knows its place in it. Removing a source clears
 * that place, so a handler may remove and free anything: what is gone by its turn is skipped.
 */

#include <assert.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include "loop.h"

struct Loop {
        int epoll_fd;
        bool exiting;
        int exit_code;
        LoopSource *snapshot[LOOP_EVENTS_MAX];
        LoopDefer *defer_first; /* for the next run of deferred work, in order */
        LoopDefer **defer_tail;
        LoopDefer *defer_running; /* what is left of the run that is under way */
};

int loop_new(Loop **ret) {
        _cleanup_(loop_freep) Loop *loop = NULL;

        loop = malloc(sizeof(*loop));
        if (!loop)
                return -ENOMEM;
        *loop = (Loop){ .epoll_fd = -EBADF };
        loop->defer_tail = &loop->defer_first;

        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0)
                return -errno;

        *ret = TAKE_PTR(loop);
        return 0;
}

Loop *loop_free(Loop *loop) {
        if (!loop)
                return NULL;

        close_fd(loop->epoll_fd);
        free(loop);
        return NULL;
}

int loop_source_add(LoopSource *source, Loop *loop, int fd, uint32_t mask, LoopSourceFn fn) {
        struct epoll_event event = { .events = mask, .data.ptr = source };

        assert(!source->loop);

        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;

        *source = (LoopSource){ .loop = loop, .fn = fn, .fd = fd, .mask = mask, .slot = -1 };
        return 0;
}

int loop_source_set(LoopSource *source, uint32_t mask) {
        struct epoll_event event = { .events = mask, .data.ptr = source };

        assert(source->loop);

        if (source->mask == mask)
                return 0;
        if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
                return -errno;

        source->mask = mask;
        return 0;
}

void loop_source_remove(LoopSource *source) {
        int r _unused_; /* without assertions */

        if (!source->loop)
                return;

        /*
         * Fails where the descriptor was closed before. That took it out of the set only if it was the last one of its
         * file: with a duplicate, here or in another process, the set would go on reporting a source that is gone.
         */
        r = epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        assert(r == 0);
        if (source->slot >= 0)
                source->loop->snapshot[source->slot] = NULL;
        source->loop = NULL;
        source->slot = -1;
        source->fd = -EBADF;
}

/* Runs what is queued now; what that queues itself belongs to the next turn, or a turn might never end. */
static int loop_run_deferred(Loop *loop) {
        assert(!loop->defer_running);

        loop->defer_running = loop->defer_first;
        loop->defer_first = NULL;
        loop->defer_tail = &loop->defer_first;

        while (loop->defer_running) {
                LoopDefer *defer = loop->defer_running;
                int r;

                loop->defer_running = defer->next;
                defer->next = NULL;
                defer->loop = NULL;
                r = defer->fn(defer);
                if (r < 0) {
                        /* The rest stays queued, before what came after it. */
                        LoopDefer **tail = &loop->defer_running;

                        while (*tail)
                                tail = &(*tail)->next;
                        if (tail != &loop->defer_running) {
                                *tail = loop->defer_first;
                                if (!loop->defer_first)
                                        loop->defer_tail = tail;
                                loop->defer_first = TAKE_PTR(loop->defer_running);
                        }
                        return r;
                }
        }

        return 0;
}

static int loop_dispatch(Loop *loop, const struct epoll_event *events, int n) {
        int result = 0;

        for (int i = 0; i < n; i++) {
                loop->snapshot[i] = events[i].data.ptr;
                loop->snapshot[i]->slot = i;
        }

        for (int i = 0; i < n; i++) {
                LoopSource *source = TAKE_PTR(loop->snapshot[i]);

                if (!source)
                        continue;
                source->slot = -1;

                /* After an error or loop_exit() the others only leave the snapshot; being level-triggered they come
                 * again. */
                if (result < 0 || loop->exiting)
                        continue;

                result = source->fn(source, events[i].events);
        }

        return result < 0 ? result : 0;
}

int loop_turn(Loop *loop, int timeout_ms) {
        struct epoll_event events[LOOP_EVENTS_MAX];
        int r;

        r = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, loop->defer_first ? 0 : timeout_ms);
        if (r < 0) {
                if (errno != EINTR)
                        return -errno;
                /* A turn without sources: the caller decides whether to wait on. */
                r = 0;
        }

        r = loop_dispatch(loop, events, r);
        if (r < 0)
                return r;

        return loop_run_deferred(loop);
}

int loop_run(Loop *loop) {
        int r;

        while (!loop->exiting) {
                r = loop_turn(loop, -1);
                if (r < 0)
                        return r;
        }

        loop->exiting = false;
        return loop->exit_code;
}

void loop_exit(Loop *loop, int code) {
        loop->exiting = true;
        loop->exit_code = code;
}

static int loop_timer_on_event(LoopSource *source, uint32_t events) {
        LoopTimer *timer = container_of(source, LoopTimer, source);
        uint64_t n_expired;

        (void) events;

        if (read(timer->fd, &n_expired, sizeof(n_expired)) < 0) {
                /* Set anew or stopped by a handler that ran earlier in this turn. */
                if (errno == EAGAIN || errno == EINTR)
                        return 0;
                return -errno;
        }

        return timer->fn(timer);
}

int loop_timer_add(LoopTimer *timer, Loop *loop, LoopTimerFn fn) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        assert(!timer->source.loop);

        fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0)
                return -errno;

        r = loop_source_add(&timer->source, loop, fd, EPOLLIN, loop_timer_on_event);
        if (r < 0)
                return r;

        timer->fn = fn;
        timer->fd = TAKE_FD(fd);
        return 0;
}

static struct timespec loop_timespec(uint64_t ns) {
        return (struct timespec){ .tv_sec = (time_t) (ns / NSEC_PER_SEC), .tv_nsec = (long) (ns % NSEC_PER_SEC) };
}

int loop_timer_set(LoopTimer *timer, uint64_t delay_ns, uint64_t period_ns) {
        const struct itimerspec spec = {
                /* Zero would disarm. */
                .it_value = loop_timespec(MAX(delay_ns, UINT64_C(1))),
                .it_interval = loop_timespec(period_ns),
        };

        assert(timer->source.loop);

        return timerfd_settime(timer->fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

int loop_timer_stop(LoopTimer *timer) {
        const struct itimerspec spec = {};

        if (!timer->source.loop)
                return 0;

        return timerfd_settime(timer->fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

void loop_timer_remove(LoopTimer *timer) {
        if (!timer->source.loop)
                return;

        loop_source_remove(&timer->source);
        timer->fd = close_fd(timer->fd);
}

static int loop_signal_on_event(LoopSource *source, uint32_t events) {
        LoopSignal *signal_source = container_of(source, LoopSignal, source);
        struct signalfd_siginfo info;
        ssize_t n;

        (void) events;

        /* One a turn: the handler may remove the source, and level-triggering brings the next. */
        n = read(signal_source->fd, &info, sizeof(info));
        if (n < 0) {
                if (errno == EAGAIN || errno == EINTR)
                        return 0;
                return -errno;
        }
        if ((size_t) n < sizeof(info))
                return -EIO;

        return signal_source->fn(signal_source, &info);
}

int loop_signal_add(LoopSignal *signal_source, Loop *loop, const sigset_t *set, LoopSignalFn fn) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        assert(!signal_source->source.loop);

        /* First: a signal that is not blocked takes its default action instead of going to the signalfd. */
        r = pthread_sigmask(SIG_BLOCK, set, NULL);
        if (r > 0)
                return -r;

        fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;

        r = loop_source_add(&signal_source->source, loop, fd, EPOLLIN, loop_signal_on_event);
        if (r < 0)
                return r;

        signal_source->fn = fn;
        signal_source->fd = TAKE_FD(fd);
        return 0;
}

void loop_signal_remove(LoopSignal *signal_source) {
        if (!signal_source->source.loop)
                return;

        /* The mask stays: a second SIGTERM during the clean-up shall not cut it short. */
        loop_source_remove(&signal_source->source);
        signal_source->fd = close_fd(signal_source->fd);
}

int loop_pidfd_add(LoopSource *source, Loop *loop, pid_t pid, LoopSourceFn fn, int *ret_pidfd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = pidfd_open(pid, 0); /* is close-on-exec by definition */
        if (fd < 0)
                return -errno;

        r = loop_source_add(source, loop, fd, EPOLLIN, fn);
        if (r < 0)
                return r;

        *ret_pidfd = TAKE_FD(fd);
        return 0;
}

void loop_defer(LoopDefer *defer, Loop *loop, LoopDeferFn fn) {
        if (defer->loop)
                return;

        *defer = (LoopDefer){ .loop = loop, .fn = fn };
        *loop->defer_tail = defer;
        loop->defer_tail = &defer->next;
}

void loop_defer_cancel(LoopDefer *defer) {
        Loop *loop = defer->loop;

        if (!loop)
                return;

        for (LoopDefer **p = &loop->defer_running; *p; p = &(*p)->next)
                if (*p == defer) {
                        *p = defer->next;
                        *defer = (LoopDefer){ .fn = defer->fn };
                        return;
                }

        for (LoopDefer **p = &loop->defer_first; *p; p = &(*p)->next)
                if (*p == defer) {
                        *p = defer->next;
                        if (loop->defer_tail == &defer->next)
                                loop->defer_tail = p;
                        *defer = (LoopDefer){ .fn = defer->fn };
                        return;
                }
}
