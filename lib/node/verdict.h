#pragma once

/*
 * Verdict
 *
 * One closed set of verdicts names how a container died (docs/verdicts.md). verdict_decide() is the only place that
 * decides, from facts alone. podspan-watch, podspan-conmon, podspand and the command line all call it, so that they
 * agree.
 *
 * An emitter decides with what it knows at the exit. A reader decides again with all facts (`settled`). Only
 * VERDICT_UNKNOWN may become another verdict that way; verdict_settle() keeps to this and reports a disagreement.
 *
 * The facts travel as attributes of the container's span. Their names are here, once. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exitstatus.h"
#include "span.h"

/* For verdict_read() alone: whoever calls it includes otlp.pb-c.h. */
typedef struct Podspan__Otlp__Span Podspan__Otlp__Span;

/* Beside these: process.exit.code, podspan.process.signal and podspan.oom_killed, which are older. */
#define VERDICT_ATTR_VERDICT        "podspan.exit.verdict"
#define VERDICT_ATTR_MISSING        "podspan.exit.missing" /* bare words of VerdictMissing, with commas */
#define VERDICT_ATTR_ORIGIN         "podspan.kill.origin"
#define VERDICT_ATTR_KILL_SIGNAL    "podspan.kill.signal"
#define VERDICT_ATTR_KILL_PID       "podspan.kill.pid"
#define VERDICT_ATTR_KILL_PROGRAM   "podspan.kill.program"
#define VERDICT_ATTR_KILL_UID       "podspan.kill.uid"
#define VERDICT_ATTR_KILL_CONTAINER "podspan.kill.container.id"
#define VERDICT_ATTR_KILL_IGNORED   "podspan.kill.ignored"
#define VERDICT_ATTR_OOM_SCOPE      "podspan.oom.scope"
#define VERDICT_ATTR_OOM_LIMIT      "podspan.oom.limit_bytes"
#define VERDICT_ATTR_OOM_PROGRAM    "podspan.oom.victim.program"
#define VERDICT_ATTR_OOM_PID        "podspan.oom.victim.pid"
#define VERDICT_ATTR_OOM_RSS        "podspan.oom.victim.rss_bytes"
#define VERDICT_ATTR_STOP_METHOD    "podspan.stop.method"
#define VERDICT_ATTR_STOP_ASKED     "podspan.stop.asked_ns" /* wall clock */
#define VERDICT_ATTR_STOP_GRACE     "podspan.stop.grace_ms"
#define VERDICT_ATTR_STOP_REASON    "podspan.stop.reason"
#define VERDICT_ATTR_MEMORY_LOW     "podspan.memory.events.low"
#define VERDICT_ATTR_MEMORY_HIGH    "podspan.memory.events.high"
#define VERDICT_ATTR_MEMORY_MAX     "podspan.memory.events.max"
#define VERDICT_ATTR_MEMORY_OOM     "podspan.memory.events.oom"
#define VERDICT_ATTR_MEMORY_KILL    "podspan.memory.events.oom_kill"
#define VERDICT_ATTR_MEMORY_GROUP   "podspan.memory.events.oom_group_kill"
#define VERDICT_ATTR_THROTTLED_NS   "podspan.cpu.throttled_ns"
#define VERDICT_ATTR_THROTTLED      "podspan.cpu.throttled_periods"
#define VERDICT_ATTR_PERIODS        "podspan.cpu.periods"

#define VERDICT_EVENT_OOM "oom_kill" /* the event's name; its attributes are those of podspan.oom.* */

/* An engine's own stop without a known grace period: SIGKILL this long after the first signal came at its end. */
#define VERDICT_ENGINE_GRACE_MS 1000

/* The values are stored: column `verdict` of the store's table `death`. Never renumber. */
typedef enum Verdict {
        VERDICT_UNKNOWN = 0,
        VERDICT_COMPLETED = 1,
        VERDICT_EXITED = 2,
        VERDICT_STOPPED = 3,
        VERDICT_STOP_TIMEOUT = 4,
        VERDICT_PROBE_KILLED = 5,
        VERDICT_OOM_CONTAINER = 6,
        VERDICT_OOM_POD = 7,
        VERDICT_OOM_NODE = 8,
        VERDICT_CRASHED = 9,
        VERDICT_KILLED = 10,
        VERDICT_START_FAILED = 11,
        VERDICT_LOST = 12,
        _VERDICT_MAX,
} Verdict;

/* Where the deadly signal came from. */
typedef enum VerdictOrigin {
        VERDICT_ORIGIN_NONE, /* no signal, or the sender is not known */
        VERDICT_ORIGIN_SELF,
        VERDICT_ORIGIN_CONTAINER, /* a process of this or another container, see kill_container */
        VERDICT_ORIGIN_HOST,
        VERDICT_ORIGIN_KERNEL,
        VERDICT_ORIGIN_PARENT,    /* the parent died, and its death was to be signalled */
        VERDICT_ORIGIN_NAMESPACE, /* the pid namespace's first process ended */
        _VERDICT_ORIGIN_MAX,
} VerdictOrigin;

/* Whose limit the OOM killer enforced. */
typedef enum VerdictScope {
        VERDICT_SCOPE_NONE, /* no OOM kill, or nothing is known of the limit */
        VERDICT_SCOPE_CONTAINER,
        VERDICT_SCOPE_POD,
        VERDICT_SCOPE_GROUP, /* a group above the pod: the node's administration set this limit, so oom-node */
        VERDICT_SCOPE_NODE,
        VERDICT_SCOPE_UNKNOWN,
        _VERDICT_SCOPE_MAX,
} VerdictScope;

/* Who asked for the end. The values are stored: column `method` of the store's table `stop`. */
typedef enum VerdictStop {
        VERDICT_STOP_UNSEEN = 0, /* none is known, and there may have been one */
        VERDICT_STOP_NONE = 1,   /* there was none: the emitter would have seen one */
        VERDICT_STOP_ENGINE = 2, /* an engine's own: `podman stop`, `runc kill` */
        VERDICT_STOP_CONTAINER = 3,
        VERDICT_STOP_SANDBOX = 4,
        VERDICT_STOP_REMOVE = 5,
        VERDICT_STOP_REMOVE_SANDBOX = 6,
        _VERDICT_STOP_MAX,
} VerdictStop;

/* What would have to be known. A mask. Given with VERDICT_UNKNOWN, and with VERDICT_STOPPED and VERDICT_STOP_TIMEOUT
 * where the cause of the stop is not known. */
typedef enum VerdictMissing {
        VERDICT_MISSING_STATUS = 1 << 0,      /* how the first process ended */
        VERDICT_MISSING_SENDER = 1 << 1,      /* who sent the signal */
        VERDICT_MISSING_OOM_SCOPE = 1 << 2,   /* whose limit the OOM killer enforced */
        VERDICT_MISSING_KERNEL = 1 << 3,      /* why the kernel sent SIGKILL */
        VERDICT_MISSING_STOP = 1 << 4,        /* whether somebody asked for the end */
        VERDICT_MISSING_STOP_REASON = 1 << 5, /* why kubelet stopped it */
        VERDICT_MISSING_CLIENT = 1 << 6,      /* which client of the engine asked */
        VERDICT_MISSING_GRACE = 1 << 7,       /* how long the grace period was */
        VERDICT_MISSING_NAMESPACE = 1 << 8,   /* why the pid namespace's first process ended */
        _VERDICT_MISSING_END = 1 << 9,
} VerdictMissing;

/*
 * What is known of a death. Strings are borrowed, NULL where not known. Begin with VERDICT_FACTS_NONE. An ignored or
 * handled signal of the runtime's that asks for the end (SIGTERM, the image's stop signal) is a stop of
 * VERDICT_STOP_ENGINE: pass it to verdict_add_stop().
 */
typedef struct VerdictFacts {
        uint64_t ended_ns; /* wall clock; 0: not known */

        int64_t exit_code; /* negative: not known */
        int signal;        /* that ended the first process; 0: none, or not known */
        bool exact;        /* read from the kernel's wait status: a code above 128 is no signal */

        VerdictOrigin origin;
        const char *kill_program;
        const char *kill_container;
        int64_t kill_pid; /* 0: not known */
        int64_t kill_uid; /* negative: not known */
        int ignored;      /* the last fatal-looking signal that was ignored; 0: none */

        bool oom_ended; /* the OOM killer chose the first process, or all of the container */
        VerdictScope oom_scope;
        int64_t oom_limit_bytes; /* 0: not known, likewise below */
        const char *oom_program;
        int64_t oom_pid;
        int64_t oom_rss_bytes;

        VerdictStop stop;
        uint64_t stop_asked_ns; /* wall clock */
        int64_t stop_grace_ms;  /* negative: not known */
        const char *stop_reason;

        /* Facts for probe-killed; a reader's. */
        bool kubelet_probe;   /* kubelet's log says that a probe of this container failed and that it will be killed */
        bool execsync_failed; /* the last ExecSync before the stop failed */
        bool sandbox_stopped; /* StopPodSandbox or RemovePodSandbox was called for its sandbox */
        bool next_attempt;    /* the next attempt of this container began in the same sandbox */

        const char *start_failure; /* the program never ran: the runtime's words */
        bool lost;                 /* the monitor or the shim died before the container */

        bool in_pod;  /* it is kubelet's: a stop may have a reason that is not known yet */
        bool settled; /* all there will be: a reader decides, after the fact */

        /* Counts at the exit; negative: not known. */
        int64_t memory_low, memory_high, memory_max, memory_oom, memory_oom_kill, memory_oom_group_kill;
        int64_t throttled_ns, throttled_periods, periods;
} VerdictFacts;

#define VERDICT_FACTS_NONE                            \
        ((VerdictFacts){ .exit_code = -1,             \
                         .kill_uid = -1,              \
                         .stop_grace_ms = -1,         \
                         .memory_low = -1,            \
                         .memory_high = -1,           \
                         .memory_max = -1,            \
                         .memory_oom = -1,            \
                         .memory_oom_kill = -1,       \
                         .memory_oom_group_kill = -1, \
                         .throttled_ns = -1,          \
                         .throttled_periods = -1,     \
                         .periods = -1 })

typedef struct VerdictDecision {
        Verdict verdict;
        uint32_t missing; /* of VerdictMissing */
        int signal;       /* of crashed, killed, stop-timeout: the one to name; 0: none */
} VerdictDecision;

/* Decides. The same facts always give the same decision. */
VerdictDecision verdict_decide(const VerdictFacts *facts);

/*
 * A reader's decision about a death whose emitter said @emitted. What an emitter decided stays. @ret_disagrees (may be
 * NULL) says whether the facts now give another verdict: a defect.
 */
VerdictDecision verdict_settle(const VerdictFacts *facts, Verdict emitted, bool *ret_disagrees);

/*
 * Adds a stop to @facts. @asked_ns is its start by the wall clock, @grace_ms negative where not known. A stop that
 * began after the end (ended_ns, which comes first) is no cause and changes nothing. Of several the one whose grace
 * period ends first counts; a CRI call counts before an engine's own stop, which it makes.
 */
void verdict_add_stop(VerdictFacts *facts, VerdictStop stop, uint64_t asked_ns, int64_t grace_ms);

/* Is @program, a process's name of at most 15 bytes, a runtime, a shim, a monitor or an engine? NULL is not. */
bool verdict_is_runtime(const char *program);

/* Bare words, static. "" for VERDICT_ORIGIN_NONE, VERDICT_SCOPE_NONE and VERDICT_STOP_UNSEEN. */
const char *verdict_word(Verdict verdict);
const char *verdict_origin_word(VerdictOrigin origin);
const char *verdict_scope_word(VerdictScope scope);
const char *verdict_stop_word(VerdictStop stop);
/* The word of one bit. */
const char *verdict_missing_word(VerdictMissing missing);
/* What is missing, in words for people: "who sent the signal". Of one bit. */
const char *verdict_missing_text(VerdictMissing missing);

/* The stop that a CRI method asks for, full or short name: "StopContainer". VERDICT_STOP_UNSEEN of any other. */
VerdictStop verdict_stop_method(const char *method);

/* The verdict of a word. Returns 0, or -EINVAL. */
int verdict_parse(const char *word, Verdict *ret);

/* "SIGKILL", "SIGRTMIN+3"; of a number that is no signal "SIGUNKNOWN". The second parses such a name: 0 if it is none.
 */
#define VERDICT_SIGNAL_MAX EXITSTATUS_SIGNAL_MAX
const char *verdict_signal_name(int signal, char ret[static VERDICT_SIGNAL_MAX]);
int verdict_signal_parse(const char *name);

/*
 * Sets the attributes of @facts and @decision on @span; no verdict if @decision is NULL, as for a process that was not
 * the container's first. Not those of process.exit.code, podspan.process.signal and
 * podspan.oom_killed, which the emitter sets.
 */
void verdict_set(Span *span, const VerdictFacts *facts, const VerdictDecision *decision);

/*
 * Reads the facts of a container's @span, which outlives them. @ret_emitted is the verdict that the emitter decided,
 * VERDICT_UNKNOWN where it says none. Wrong types and values out of range are as if they were missing.
 */
void verdict_read(const Podspan__Otlp__Span *span, VerdictFacts *ret, Verdict *ret_emitted);
