#pragma once

/*
 * OOM watch
 *
 * Reports when the kernel's OOM killer struck in a container's cgroup, version 2 (inotify on memory.events) and version
 * 1 (an eventfd, and the counter in memory.oom_control), and reads what the container used. Where a cgroup or a file of
 * it is not there, nothing is reported, and that is no error.
 *
 * systemd removes a scope's cgroup as soon as its last process has ended, which can be before the monitor looks, and
 * the counters go with it. What is left then: the kernel's log, which names the cgroup; the counter of the cgroup
 * above, which counts the kills in all cgroups below it and stays; and the inotify events that were not read yet.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "loop.h"

#define OOMWATCH_PARENTS_MAX 3 /* cgroups above the container's; with crun and systemd the first goes with it */

typedef struct OomWatch OomWatch;
typedef void (*OomWatchFn)(OomWatch *watch);

struct OomWatch {
        LoopSource source;
        Loop *loop;
        int event_fd;    /* inotify or eventfd */
        int dir_fd;      /* the cgroup's directory with memory.*; O_PATH */
        int cpu_fd;      /* the one with cpu.stat or cpuacct.usage; O_PATH */
        int oom_fd;      /* version 1: memory.oom_control */
        bool unified;    /* version 2 */
        bool killed;     /* set for the function: a process was killed, which an OOM event alone does not mean */
        bool has_events; /* version 1: the kernel reports through the eventfd */
        bool has_counts;
        bool gone;    /* version 2: the cgroup has been removed */
        bool open;    /* version 2: there was an OOM event, and no kill yet */
        uint64_t oom; /* the counters as last seen */
        uint64_t oom_kill;
        int events_fd; /* version 2: memory.events */
        int log_fd;    /* version 2: the kernel's log */
        char *path;    /* version 2: the cgroup's, as /proc/PID/cgroup has it */
        struct {
                int fd; /* memory.events */
                uint64_t oom_kill;
        } parents[OOMWATCH_PARENTS_MAX];
        size_t n_parents;
        OomWatchFn fn;
};

#define OOMWATCH_NULL                                                                                                 \
        {                                                                                                             \
                .source = LOOP_SOURCE_NULL, .event_fd = -EBADF, .dir_fd = -EBADF, .cpu_fd = -EBADF, .oom_fd = -EBADF, \
                .events_fd = -EBADF, .log_fd = -EBADF                                                                 \
        }

typedef struct OomWatchUsage {
        uint64_t cpu_ns;     /* 0: not known */
        uint64_t memory_max; /* bytes, likewise */
} OomWatchUsage;

/*
 * Watches the cgroup that @pid is in; @fn is called at each OOM event from then on. With @fresh the cgroup was made for
 * this process, and what has already happened in it is an event too. Returns 0, or a negative errno that says why
 * nothing will be heard.
 */
int oomwatch_start(OomWatch *watch, Loop *loop, pid_t pid, bool fresh, OomWatchFn fn);

/*
 * The same for the cgroup @path of version 2 ("/a/b") below the folder @root, with the kernel's log in @log_fd, which
 * is consumed; negative: it cannot be read.
 */
int oomwatch_start_unified(OomWatch *watch, Loop *loop, const char *root, const char *path, int log_fd, bool fresh,
                           OomWatchFn fn);
void oomwatch_stop(OomWatch *watch);

/* Looks now, for the end: events may not have come through the loop yet. Calls the function as above. */
void oomwatch_check(OomWatch *watch);

/* What the container has used so far. */
void oomwatch_usage(const OomWatch *watch, OomWatchUsage *ret);
