#include <assert.h>
#include <limits.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include "cgroup.h"
#include "contextmatch.h"
#include "dirowner.h"
#include "log.h"
#include "resync.h"
#include "trim.h"
#include "watch.h"

#define CALL_EVENT_MAX (sizeof(struct inotify_event) + NAME_MAX + 1)

static LogRatelimit lost_limit = LOG_RATELIMIT(60, 3);
static LogRatelimit unreadable_limit = LOG_RATELIMIT(3600, 3);
static LogRatelimit engine_limit = LOG_RATELIMIT(3600, 3);

static void flush(Watch *watch) {
        if (watch->n_spans > 0 && spool_wanted(&watch->spool, watch->state_fd))
                (void) spool_write(&watch->spool, watch->service_name, watch->spans, watch->n_spans);
        for (size_t i = 0; i < watch->n_spans; i++)
                watch->spans[i] = span_free(watch->spans[i]);
        watch->n_spans = 0;
}

static int on_flush(LoopTimer *timer) {
        Watch *watch = container_of(timer, Watch, flush_timer);

        watch->n_untrimmed += watch->n_spans;
        flush(watch);
        /* What many commands at a time have needed goes back. */
        if (watch->n_untrimmed >= WATCH_TRIM_SPANS) {
                watch->n_untrimmed = 0;
                trim_memory();
        }
        return 0;
}

static int host_find(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        Watch *watch = userdata;
        int r;

        r = link_find(&watch->link, command, time_ns, ret);
        if (watch->link.unreadable.error != 0 && log_ratelimit(&unreadable_limit))
                (void) log_warning_errno(watch->link.unreadable.error,
                                         "Cannot read the bundle %s, so its hooks are not known (is it below no folder "
                                         "of a running engine? then add --bundle-root): %m",
                                         watch->link.unreadable.path);
        watch->link.unreadable.error = 0;
        return r;
}

static void host_engine(void *userdata, const Command *command) {
        Watch *watch = userdata;
        OpenerFolders folders = {};
        int r;

        if (!watch->link.opener)
                return;
        r = opener_add_engine(watch->link.opener, command, &folders);
        if (r < 0 && log_ratelimit(&engine_limit))
                (void) log_warning_errno(r, "Cannot learn where %s keeps its bundles: %m", command->name);
        else if (r >= 0 && folders.n_unreadable > 0 && log_ratelimit(&engine_limit))
                (void) log_warning_errno(folders.error, "Cannot use %s, a configuration of %s, to find its bundles: %m",
                                         folders.unreadable, command->name);
}

static int host_root(void *userdata, TraceContext *ret) {
        Watch *watch = userdata;

        return link_root(&watch->link, ret);
}

static void host_emit(void *userdata, Span *span) {
        Watch *watch = userdata;

        if (watch->n_spans == WATCH_SPANS_MAX) {
                watch->n_untrimmed += watch->n_spans;
                flush(watch);
        }
        if (watch->n_spans == 0)
                (void) loop_timer_set(&watch->flush_timer, WATCH_FLUSH_NS, 0);
        watch->spans[watch->n_spans++] = span;
}

static void host_counted(void *userdata, const Command *command) {
        Watch *watch = userdata;

        (void) command;
        counters_add(watch->counters, COUNTERS_WATCH, COUNTERS_WATCH_COUNTED, 1);
}

static int host_cgroup(void *userdata, uint32_t pid, uint64_t start_ns, char **ret) {
        _cleanup_free_ char *path = NULL;
        int r;

        (void) userdata;
        r = cgroup_find(pid, &path);
        if (r < 0)
                return r;
        if (resync_gone(pid, start_ns))
                return -ESRCH; /* and its pid may be another's */
        *ret = TAKE_PTR(path);
        return 0;
}

static bool host_oom_killed(void *userdata, const char *cgroup) {
        (void) userdata;
        return cgroup_oom_killed(cgroup);
}

static int on_event(void *userdata, const Event *event, const char *data, size_t size) {
        Watch *watch = userdata;
        int r;

        if (!watch->has_now) {
                watch->now = clk_now();
                watch->has_now = true;
        }
        r = story_event(watch->story, event, data, size, &watch->now);
        return r == -ENOMEM ? 0 : MIN(r, 0) == -EBADMSG ? 0 : r;
}

static int on_found(void *userdata, const Event *found, const char *file) {
        _cleanup_free_ char *data = NULL;
        Watch *watch = userdata;
        Event event = *found;
        size_t size;
        int r;

        /* What happened until it was found is in the ring, and comes first. */
        r = source_drain(watch->source);
        if (r < 0 || story_knows(watch->story, &event))
                return r;
        if (event.flags & EVENT_CONTAINER)
                watch->orphans |= !story_has(watch->story, event.parent);
        if (event.flags & EVENT_CONTAINER)
                return on_event(watch, &event, file, strlen(file) + 1);
        if (resync_complete(&event, file, &data, &size) < 0)
                return 0; /* gone, or going */
        return on_event(watch, &event, data, size);
}

static bool is_gone(void *userdata, uint32_t pid, uint64_t start_ns) {
        (void) userdata;
        return resync_gone(pid, start_ns);
}

static int resync(Watch *watch) {
        int r;

        watch->has_now = false;
        story_note_gone(watch->story, is_gone, watch);
        r = source_drain(watch->source);
        if (r < 0)
                return r;
        story_forget_gone(watch->story);
        watch->orphans = false;
        r = source_scan(watch->source, on_found, watch);
        /* Pids go round: a container may have been found before what it is below. */
        return r < 0 || !watch->orphans ? r : source_scan(watch->source, on_found, watch);
}

static int on_resync(LoopTimer *timer) {
        Watch *watch = container_of(timer, Watch, resync_timer);
        int r;

        watch->resync_pending = false;
        r = resync(watch);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot look for running programs after a loss of events: %m");
        return 0;
}

/* Lets the kernel side tell what time goes to while a command or call is under way, and a moment longer. */
static void follow(Watch *watch) {
        const Clk now = clk_now();
        bool engines = watch->explains && calls_single(&watch->calls, &now),
             wanted = engines || (watch->explains && story_busy(watch->story, now.monotonic_ns)), was;

        if (!watch->source)
                return;
        was = source_follows(watch->source);
        if (wanted) {
                /* One that does not end is to be noticed, though nothing else happens. */
                if (!was || watch->lingering)
                        (void) loop_timer_set(&watch->linger_timer, CALLS_FOLLOW_NS, CALLS_FOLLOW_NS);
                watch->lingering = false;
                (void) source_follow(watch->source, true, engines);
        } else if (was && !watch->lingering) {
                watch->lingering = true;
                (void) source_follow(watch->source, true, false);
                (void) loop_timer_set(&watch->linger_timer, WATCH_LINGER_NS, 0);
        }
}

static int on_linger(LoopTimer *timer) {
        Watch *watch = container_of(timer, Watch, linger_timer);

        if (watch->lingering) {
                watch->lingering = false;
                (void) source_follow(watch->source, false, false);
        } else {
                follow(watch);
        }
        return 0;
}

/* @record: NULL, it is over already. */
static void call_begins(Watch *watch, const char *name, bool young, const ContextRecord *record, const Clk *now) {
        uint64_t begin_ns = watch->calls_ns, age_ns;

        if (record) {
                age_ns = now->realtime_ns > record->start_ns ? now->realtime_ns - record->start_ns : 0;
                begin_ns = now->monotonic_ns - MIN(age_ns, now->monotonic_ns);
        }
        calls_begin(&watch->calls, name, young, calls_followed(name) ? record : NULL, begin_ns, now);
}

static int begin_call(const char *name, const ContextRecord *record, void *userdata) {
        Watch *watch = userdata;
        const Clk now = clk_now();

        if (name)
                call_begins(watch, name, /* young= */ false, record, &now);
        return 0;
}

static int begin_young(const char *name, const ContextRecord *record, void *userdata) {
        Watch *watch = userdata;
        const Clk now = clk_now();

        call_begins(watch, name, /* young= */ true, record, &now);
        return 0;
}

/* Takes in the calls that have no file yet. Returns false if it cannot be said which there are. */
static bool look_at_young(Watch *watch) {
        calls_look(&watch->calls);
        return context_list_young(&watch->context, begin_young, watch) == 0;
}

static bool is_begin(const struct inotify_event *event) {
        return event->mask & (IN_CREATE | IN_MOVED_TO);
}

/* @known: are all calls that began until @now? */
static void on_call(Watch *watch, const struct inotify_event *event, const Clk *now, bool known) {
        StoryInterval others[CALLS_MAX];
        ContextRecord record;
        StoryCall call;

        if (event->len == 0 || (event->mask & IN_MODIFY) || !contextmatch_version_known(event->name))
                return;
        if (is_begin(event)) {
                bool read = context_read_live(&watch->context, event->name, &record) >= 0;

                call_begins(watch, event->name, /* young= */ false, read ? &record : NULL, now);
        } else {
                if (calls_end(&watch->calls, event->name, now, &call, others) && known)
                        story_call(watch->story, &call);
                story_forget_work(watch->story, calls_since(&watch->calls, now));
        }
}

/* The young calls that are over; what got a file is known to have it. */
static void end_young(Watch *watch, const Clk *now) {
        StoryInterval others[CALLS_MAX];
        StoryCall call;
        int r;

        while ((r = calls_end_unseen(&watch->calls, now, &call, others)) >= 0) {
                if (r > 0)
                        story_call(watch->story, &call);
                story_forget_work(watch->story, calls_since(&watch->calls, now));
        }
}

static int on_calls(LoopSource *source, uint32_t events) {
        Watch *watch = container_of(source, Watch, calls_source);
        alignas(struct inotify_event) char buffer[16 * 1024];
        bool young, known, overflow = false;
        ssize_t n;
        Clk now;
        int r;

        (void) events;
        /* What happened before the call ended is in the ring by now. */
        r = source_drain(watch->source);
        if (r < 0)
                return r;
        /* First: a call that is young no more has had its file by then, and that is in the queue. */
        young = look_at_young(watch);
        now = clk_now();
        n = read(watch->calls_fd, buffer, sizeof(buffer));
        known = n + (ssize_t) CALL_EVENT_MAX < (ssize_t) sizeof(buffer); /* or more may wait */
        /* A call that began before another one's end came to be known is its neighbour: the ends come last. */
        for (int ends = 0; ends <= 1; ends++)
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const struct inotify_event *) (buffer + at);

                        overflow |= (event->mask & IN_Q_OVERFLOW) != 0;
                        if (is_begin(event) == !ends)
                                on_call(watch, event, &now, known && !overflow);
                        at += (ssize_t) (sizeof(*event) + event->len);
                }
        if (overflow) {
                calls_clear(&watch->calls);
                (void) context_list(&watch->context, CONTEXT_LIVE, begin_call, watch);
                (void) look_at_young(watch);
        } else if (young && known)
                end_young(watch, &now);
        if (known)
                watch->calls_ns = now.monotonic_ns;
        follow(watch);
        return 0;
}

/* Without it nothing is told of what engines do themselves. */
static int watch_calls(Watch *watch) {
        char path[32];

        if (watch->context.kind_fd[CONTEXT_LIVE] < 0)
                return 0;
        watch->calls_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (watch->calls_fd < 0)
                return -errno;
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", watch->context.kind_fd[CONTEXT_LIVE]);
        if (inotify_add_watch(watch->calls_fd, path, IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM) <
            0)
                return -errno;
        watch->calls_ns = clk_now().monotonic_ns;
        (void) context_list(&watch->context, CONTEXT_LIVE, begin_call, watch);
        (void) look_at_young(watch);
        return loop_source_add(&watch->calls_source, watch->loop, watch->calls_fd, EPOLLIN, on_calls);
}

static void on_batch(void *userdata) {
        Watch *watch = userdata;

        watch->has_now = false;
        counters_add(watch->counters, COUNTERS_WATCH, COUNTERS_WATCH_CROWDED, source_crowded(watch->source));
        follow(watch);
}

static int on_lost(void *userdata, uint64_t n_lost) {
        Watch *watch = userdata;

        counters_add(watch->counters, COUNTERS_WATCH, COUNTERS_WATCH_LOST, n_lost);
        story_lost(watch->story);
        if (log_ratelimit(&lost_limit))
                log_warning("%llu process events were lost, spans of this moment may be incomplete",
                            (unsigned long long) n_lost);
        if (!watch->resync_pending) {
                watch->resync_pending = true;
                return loop_timer_set(&watch->resync_timer, WATCH_RESYNC_NS, 0);
        }
        return 0;
}

static int on_signal(LoopSignal *source, const struct signalfd_siginfo *info) {
        Watch *watch = container_of(source, Watch, signals);

        /* What has happened until now is told, though it may have woken nobody. */
        if (watch->source)
                (void) source_drain(watch->source);
        if (info->ssi_signo == SIGHUP)
                watch->reload(watch);
        else
                loop_exit(watch->loop, 0);
        return 0;
}

void watch_configure(Watch *watch, const Config *config) {
        watch->explains = config->explain_time;
        watch->service_name = *config->service_name ? config->service_name : "podspan-watch";
        watch->link.sampler = sampler_make(config->tracing_sampling_rate_per_million);
        watch->link.start_window_ns = config->start_window_ns;
        story_set_bounds(watch->story, config->slow_call_ns, config->start_window_ns);
        follow(watch);
}

int watch_init(Watch *watch, const Config *config, int state_fd, const char *const *roots, size_t n_roots) {
        const StoryHost host = {
                .find = host_find,
                .root = host_root,
                .emit = host_emit,
                .counted = host_counted,
                .cgroup = host_cgroup,
                .oom_killed = host_oom_killed,
                .engine = host_engine,
                .userdata = watch,
        };
        char refusal[DIROWNER_TEXT_MAX];
        sigset_t set;
        int r;

        assert(watch);
        assert(config);

        watch->state_fd = state_fd;
        watch->counters = counters_open(state_fd, true);
        r = spool_init(&watch->spool, state_fd, COUNTERS_WATCH, watch->counters);
        if (r == -EPERM) {
                counters_add(watch->counters, COUNTERS_WATCH, COUNTERS_UNTRUSTED, 1);
                dirowner_text(state_fd, "spool", refusal);
                log_error("No spans: %s", refusal);
        } else if (r < 0)
                return r;
        r = context_init(&watch->context, state_fd, true, COUNTERS_WATCH, watch->counters);
        if (r == -EPERM) {
                context_refusal(&watch->context, state_fd, refusal);
                log_error("No context files, so spans have no parents: %s", refusal);
        } else if (r < 0)
                return r;
        r = link_init(&watch->link, &watch->context, watch->counters, config->tracing_sampling_rate_per_million,
                      config->start_window_ns);
        if (r < 0)
                return r;
        watch->link.opener = watch->opener;
        for (size_t i = 0; i < n_roots; i++) {
                r = link_add_root(&watch->link, roots[i]);
                if (r < 0)
                        return r;
        }
        r = story_new(&host, config->slow_call_ns, config->start_window_ns, &watch->story);
        if (r < 0)
                return r;
        watch_configure(watch, config);

        r = loop_new(&watch->loop);
        if (r < 0)
                return r;
        r = loop_timer_add(&watch->flush_timer, watch->loop, on_flush);
        if (r < 0)
                return r;
        r = loop_timer_add(&watch->resync_timer, watch->loop, on_resync);
        if (r < 0)
                return r;
        r = loop_timer_add(&watch->linger_timer, watch->loop, on_linger);
        if (r < 0)
                return r;
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGHUP);
        return loop_signal_add(&watch->signals, watch->loop, &set, on_signal);
}

void watch_deinit(Watch *watch) {
        loop_source_remove(&watch->calls_source);
        watch->calls_fd = close_fd(watch->calls_fd);
        calls_clear(&watch->calls);
        watch->source = source_free(watch->source);
        watch->story = story_free(watch->story);
        flush(watch);
        link_deinit(&watch->link);
        context_deinit(&watch->context);
        spool_deinit(&watch->spool);
        watch->counters = counters_free(watch->counters);
        loop_signal_remove(&watch->signals);
        loop_timer_remove(&watch->linger_timer);
        loop_timer_remove(&watch->resync_timer);
        loop_timer_remove(&watch->flush_timer);
        watch->loop = loop_free(watch->loop);
}

int watch_start(Watch *watch, LoaderVerdict *ret_verdict) {
        int r;

        r = source_new(watch->loop, on_event, on_lost, on_batch, watch, ret_verdict, &watch->source);
        if (r < 0)
                return r;
        if (*ret_verdict->reason)
                log_notice("%s", ret_verdict->reason);
        r = watch_calls(watch);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot follow the calls in flight: %m");
        return resync(watch);
}

int watch_run(Watch *watch) {
        return loop_run(watch->loop);
}
