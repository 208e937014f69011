#pragma once

/*
 * Story
 *
 * Makes spans of a stream of process events: processes by pid and start time, each with the *node* (a span to be) it
 * works for. A child works for its parent's node until it executes a program of its own. No I/O: whose trace a command
 * belongs to is asked of the caller, and spans go to the caller.
 *
 * The stream may have gaps (the ring was full): story_lost() marks what is open as incomplete, and what /proc
 * shows comes in as events again (resync.h). Events of processes that are not known are ignored: no parent rather than
 * a wrong one.
 *
 * Everything is bounded: STORY_PROCESSES_MAX processes, STORY_CHILDREN_MAX spans below one command, STORY_HELD_MAX
 * spans held back for a probe. What is above is dropped and counted.
 */

#include "clk.h"
#include "command.h"
#include "owner.h"
#include "span.h"

#define STORY_PROCESSES_MAX 8192
#define STORY_CHILDREN_MAX  128
#define STORY_HELD_MAX      64
#define STORY_BUSY_NS       (60 * NSEC_PER_SEC) /* what takes longer (`runc run` …) lives long, and is not the start */

typedef struct Story Story;

/* Where a command belongs. */
typedef struct StoryOrigin {
        Owner *owner;        /* a reference */
        bool live;           /* a CRI call in flight has caused it */
        TraceContext parent; /* a zero span id: a root in this trace */
        TraceContext call;   /* likewise, whatever the environment says */
        TraceContext links[SPAN_LINKS_MAX];
        const char *why[SPAN_LINKS_MAX]; /* literals */
        size_t n_links;
} StoryOrigin;

typedef struct StoryHost {
        /*
         * Finds the origin of @command, run at @time_ns of the wall clock. Returns 0, -ENOENT where it
         * is nobody's, or another negative errno: no span then.
         */
        int (*find)(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret);
        /* A new trace, for an exit long after the start; 0 or a negative errno. */
        int (*root)(void *userdata, TraceContext *ret);
        /* Takes a finished span; it is the callee's. */
        void (*emit)(void *userdata, Span *span);
        /* A probe or poll that became no span. */
        void (*counted)(void *userdata, const Command *command);
        /*
         * The memory cgroup of the container's process @pid with this start, to be freed; and whether the OOM killer
         * has ever killed there, whomever. Both may be NULL.
         */
        int (*cgroup)(void *userdata, uint32_t pid, uint64_t start_ns, char **ret);
        bool (*oom_killed)(void *userdata, const char *cgroup);
        /* An engine of root runs; may be NULL. */
        void (*engine)(void *userdata, const Command *command);
        void *userdata;
} StoryHost;

typedef struct StoryStats {
        size_t n_processes;
        uint64_t n_dropped; /* spans above a bound */
} StoryStats;

/*
 * @slow_ns: a probe that takes longer becomes spans. @start_window_ns: an exit later than this after the start is no
 * part of it. 0 with a story owned by the caller, or -ENOMEM.
 */
int story_new(const StoryHost *host, uint64_t slow_ns, uint64_t start_window_ns, Story **ret);
Story *story_free(Story *story);
DEFINE_CLEANUP(Story *, story_free);

/* Other bounds than story_new()'s from now on. */
void story_set_bounds(Story *story, uint64_t slow_ns, uint64_t start_window_ns);

/*
 * Takes one event with the @size bytes behind it. Where its n_lost is not that of the event before, story_lost() is
 * called first. @now is read once per batch: every span takes its one offset from
 * monotonic to wall clock from the batch in which its command began.
 * Returns 0, -EBADMSG for an event that is malformed, or -ENOMEM.
 */
int story_event(Story *story, const Event *event, const char *data, size_t size, const Clk *now);

typedef struct StoryInterval {
        uint64_t begin_ns, end_ns;
} StoryInterval;

/* A CRI call that has ended. Times are CLOCK_MONOTONIC. */
typedef struct StoryCall {
        Owner *owner; /* borrowed */
        TraceContext context;
        Clk clk;
        StoryInterval time;
        const StoryInterval *others; /* borrowed: when others were in flight */
        size_t n_others;
} StoryCall;

/*
 * Tells what the engines that serve CRI calls did themselves while @call alone was in flight, below it. Which engine
 * does is known from the commands that calls have caused.
 */
void story_call(Story *story, const StoryCall *call);
/* Forgets what engines did until @time_ns. */
void story_forget_work(Story *story, uint64_t time_ns);

/* Is a command under way that will be told, other than a probe, and has one begun in the last STORY_BUSY_NS? */
bool story_busy(const Story *story, uint64_t monotonic_ns);

/*
 * Events have been lost: what is open may be incomplete. What processes fork that may have executed something meanwhile
 * is below no command that we know.
 */
void story_lost(Story *story);

/* Is the process that has been found known, as what it has been found to be? */
bool story_knows(const Story *story, const Event *event);

/* Is any process @pid known? */
bool story_has(const Story *story, uint32_t pid);

/*
 * Notes the processes for which @gone is true: they have ended, and their exits have been told or lost by now. Those
 * that are still known when the events until now have been taken are forgotten then.
 */
void story_note_gone(Story *story, bool (*gone)(void *userdata, uint32_t pid, uint64_t start_ns), void *userdata);
void story_forget_gone(Story *story);

StoryStats story_stats(const Story *story);
