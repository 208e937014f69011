#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "otlp.pb-c.h"
#include "util.h"
#include "verdict.h"

static const char *const verdicts[_VERDICT_MAX] = {
        [VERDICT_UNKNOWN] = "unknown",
        [VERDICT_COMPLETED] = "completed",
        [VERDICT_EXITED] = "exited",
        [VERDICT_STOPPED] = "stopped",
        [VERDICT_STOP_TIMEOUT] = "stop-timeout",
        [VERDICT_PROBE_KILLED] = "probe-killed",
        [VERDICT_OOM_CONTAINER] = "oom-container",
        [VERDICT_OOM_POD] = "oom-pod",
        [VERDICT_OOM_NODE] = "oom-node",
        [VERDICT_CRASHED] = "crashed",
        [VERDICT_KILLED] = "killed",
        [VERDICT_START_FAILED] = "start-failed",
        [VERDICT_LOST] = "lost",
};

static const char *const origins[_VERDICT_ORIGIN_MAX] = {
        [VERDICT_ORIGIN_NONE] = "",
        [VERDICT_ORIGIN_SELF] = "self",
        [VERDICT_ORIGIN_CONTAINER] = "container",
        [VERDICT_ORIGIN_HOST] = "host",
        [VERDICT_ORIGIN_KERNEL] = "kernel",
        [VERDICT_ORIGIN_PARENT] = "parent",
        [VERDICT_ORIGIN_NAMESPACE] = "namespace",
};

static const char *const scopes[_VERDICT_SCOPE_MAX] = {
        [VERDICT_SCOPE_NONE] = "",       [VERDICT_SCOPE_CONTAINER] = "container", [VERDICT_SCOPE_POD] = "pod",
        [VERDICT_SCOPE_GROUP] = "group", [VERDICT_SCOPE_NODE] = "node",           [VERDICT_SCOPE_UNKNOWN] = "unknown",
};

static const char *const stops[_VERDICT_STOP_MAX] = {
        [VERDICT_STOP_UNSEEN] = "",
        [VERDICT_STOP_NONE] = "none",
        [VERDICT_STOP_ENGINE] = "kill",
        [VERDICT_STOP_CONTAINER] = "StopContainer",
        [VERDICT_STOP_SANDBOX] = "StopPodSandbox",
        [VERDICT_STOP_REMOVE] = "RemoveContainer",
        [VERDICT_STOP_REMOVE_SANDBOX] = "RemovePodSandbox",
};

static const struct {
        VerdictMissing bit;
        const char *word;
        const char *text;
} missings[] = {
        { VERDICT_MISSING_STATUS, "status", "how the first process ended" },
        { VERDICT_MISSING_SENDER, "sender", "who sent the signal" },
        { VERDICT_MISSING_OOM_SCOPE, "oom_scope", "whose limit the OOM killer enforced" },
        { VERDICT_MISSING_KERNEL, "kernel", "why the kernel sent SIGKILL" },
        { VERDICT_MISSING_STOP, "stop", "whether somebody asked for the end" },
        { VERDICT_MISSING_STOP_REASON, "stop_reason", "why kubelet stopped it" },
        { VERDICT_MISSING_CLIENT, "client", "which client of the engine stopped it" },
        { VERDICT_MISSING_GRACE, "grace", "how long the grace period was" },
        { VERDICT_MISSING_NAMESPACE, "namespace", "why the first process of its pid namespace ended" },
};

static const char *word_of(const char *const *words, size_t n, size_t at) {
        return at < n ? words[at] : "";
}

static size_t find_word(const char *const *words, size_t n, const char *word) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(words[i], word) == 0)
                        return i;
        return n;
}

const char *verdict_word(Verdict verdict) {
        return word_of(verdicts, ARRAY_SIZE(verdicts), (size_t) verdict);
}

const char *verdict_origin_word(VerdictOrigin origin) {
        return word_of(origins, ARRAY_SIZE(origins), (size_t) origin);
}

const char *verdict_scope_word(VerdictScope scope) {
        return word_of(scopes, ARRAY_SIZE(scopes), (size_t) scope);
}

const char *verdict_stop_word(VerdictStop stop) {
        return word_of(stops, ARRAY_SIZE(stops), (size_t) stop);
}

const char *verdict_missing_word(VerdictMissing missing) {
        for (size_t i = 0; i < ARRAY_SIZE(missings); i++)
                if (missings[i].bit == missing)
                        return missings[i].word;
        return "";
}

const char *verdict_missing_text(VerdictMissing missing) {
        for (size_t i = 0; i < ARRAY_SIZE(missings); i++)
                if (missings[i].bit == missing)
                        return missings[i].text;
        return "";
}

VerdictStop verdict_stop_method(const char *method) {
        const char *slash = strrchr(method, '/');

        for (int stop = VERDICT_STOP_CONTAINER; stop < _VERDICT_STOP_MAX; stop++)
                if (strcmp(stops[stop], slash ? slash + 1 : method) == 0)
                        return (VerdictStop) stop;
        return VERDICT_STOP_UNSEEN;
}

int verdict_parse(const char *word, Verdict *ret) {
        size_t at;

        assert(word);

        at = find_word(verdicts, ARRAY_SIZE(verdicts), word);
        if (at == ARRAY_SIZE(verdicts))
                return -EINVAL;
        *ret = (Verdict) at;
        return 0;
}

const char *verdict_signal_name(int signal, char ret[static VERDICT_SIGNAL_MAX]) {
        return exitstatus_signal(signal, ret);
}

int verdict_signal_parse(const char *name) {
        char known[VERDICT_SIGNAL_MAX];

        if (!name)
                return 0;
        for (int signal = 1; signal <= SIGRTMAX; signal++)
                if (strcmp(verdict_signal_name(signal, known), name) == 0 && strcmp(name, "SIGUNKNOWN") != 0)
                        return signal;
        return 0;
}

bool verdict_is_runtime(const char *program) {
        static const char *const names[] = {
                "runc",   "crun",     "youki",     "runsc",          "kata-runtime", "containerd", "crio",
                "conmon", "conmonrs", "conmon-rs", "podspan-conmon", "podman",       "dockerd",
        };

        if (!program)
                return false;
        if (strncmp(program, "containerd-shim", strlen("containerd-shim")) == 0 || strncmp(program, "runc:", 5) == 0)
                return true;
        return find_word(names, ARRAY_SIZE(names), program) < ARRAY_SIZE(names);
}

static bool is_cri_stop(VerdictStop stop) {
        return stop >= VERDICT_STOP_CONTAINER && stop < _VERDICT_STOP_MAX;
}

static bool is_stop(VerdictStop stop) {
        return stop >= VERDICT_STOP_ENGINE && stop < _VERDICT_STOP_MAX;
}

/* A removal does not wait: what still runs is killed. */
static int64_t grace_of(VerdictStop stop, int64_t grace_ms) {
        return grace_ms < 0 && (stop == VERDICT_STOP_REMOVE || stop == VERDICT_STOP_REMOVE_SANDBOX) ? 0 : grace_ms;
}

/* When the runtime may kill. Without a known grace period: after all others. */
static uint64_t deadline_of(uint64_t asked_ns, int64_t grace_ms) {
        uint64_t grace_ns;

        if (grace_ms < 0 || __builtin_mul_overflow((uint64_t) grace_ms, NSEC_PER_MSEC, &grace_ns) ||
            __builtin_add_overflow(asked_ns, grace_ns, &grace_ns))
                return UINT64_MAX;
        return grace_ns;
}

void verdict_add_stop(VerdictFacts *facts, VerdictStop stop, uint64_t asked_ns, int64_t grace_ms) {
        assert(facts);

        if (!is_stop(stop) || (facts->ended_ns > 0 && asked_ns > facts->ended_ns))
                return;
        grace_ms = grace_of(stop, grace_ms);
        if (is_stop(facts->stop) && is_cri_stop(facts->stop) >= is_cri_stop(stop)) {
                uint64_t deadline = deadline_of(asked_ns, grace_ms);
                uint64_t theirs = deadline_of(facts->stop_asked_ns, facts->stop_grace_ms);

                if (is_cri_stop(facts->stop) > is_cri_stop(stop) || deadline > theirs ||
                    (deadline == theirs && asked_ns >= facts->stop_asked_ns))
                        return;
        }
        facts->stop = stop;
        facts->stop_asked_ns = asked_ns;
        facts->stop_grace_ms = grace_ms;
}

static VerdictDecision unknown(uint32_t missing) {
        return (VerdictDecision){ .verdict = VERDICT_UNKNOWN, .missing = missing };
}

/* Is the status a signal, as far as it can be known? */
static int signal_of(const VerdictFacts *facts) {
        if (facts->signal > 0)
                return facts->signal;
        return !facts->exact && facts->exit_code > 128 && facts->exit_code <= 128 + 64 ? (int) facts->exit_code - 128
                                                                                       : 0;
}

static bool is_crash(int signal) {
        switch (signal) {
        case SIGSEGV:
        case SIGBUS:
        case SIGFPE:
        case SIGILL:
        case SIGTRAP:
        case SIGSYS:
        case SIGXCPU:
        case SIGXFSZ:
                return true;
        default:
                return false;
        }
}

static bool sent_by_runtime(const VerdictFacts *facts) {
        return facts->origin == VERDICT_ORIGIN_HOST && verdict_is_runtime(facts->kill_program);
}

/* SIGKILL came at @facts->ended_ns: did the grace period end before? */
static VerdictDecision killed_after_stop(const VerdictFacts *facts) {
        bool by_runtime = sent_by_runtime(facts) || facts->origin == VERDICT_ORIGIN_NAMESPACE;
        int64_t grace_ms = grace_of(facts->stop, facts->stop_grace_ms);
        uint64_t elapsed_ns;

        if (grace_ms == 0)
                return (VerdictDecision){ .verdict = VERDICT_STOPPED };
        if (facts->ended_ns == 0 || facts->stop_asked_ns == 0 || facts->ended_ns < facts->stop_asked_ns)
                return unknown(VERDICT_MISSING_GRACE);
        if (grace_ms < 0 && facts->stop != VERDICT_STOP_ENGINE)
                return unknown(VERDICT_MISSING_GRACE);

        elapsed_ns = facts->ended_ns - facts->stop_asked_ns;
        if (elapsed_ns >= (grace_ms < 0 ? VERDICT_ENGINE_GRACE_MS * NSEC_PER_MSEC : deadline_of(0, grace_ms)))
                return (VerdictDecision){ .verdict = VERDICT_STOP_TIMEOUT, .signal = SIGKILL };
        /* Somebody else may have been faster than the runtime. */
        return by_runtime || grace_ms < 0 ? (VerdictDecision){ .verdict = VERDICT_STOPPED }
                                          : unknown(VERDICT_MISSING_SENDER);
}

static bool stopped_for_probe(const VerdictFacts *facts) {
        bool alone = facts->stop == VERDICT_STOP_CONTAINER && !facts->sandbox_stopped;

        return facts->kubelet_probe || (alone && facts->execsync_failed && facts->next_attempt);
}

/* Why kubelet stopped a container is known after the fact only: until then a stop may become probe-killed. */
static VerdictDecision with_reason(const VerdictFacts *facts, VerdictDecision decision) {
        bool of_pod = facts->stop == VERDICT_STOP_SANDBOX || facts->stop == VERDICT_STOP_REMOVE ||
                      facts->stop == VERDICT_STOP_REMOVE_SANDBOX;

        if (decision.verdict == VERDICT_UNKNOWN)
                return decision;
        if (!facts->settled && facts->in_pod && !of_pod)
                return unknown(VERDICT_MISSING_STOP_REASON);
        if (!of_pod && stopped_for_probe(facts))
                return (VerdictDecision){ .verdict = VERDICT_PROBE_KILLED, .signal = decision.signal };
        if (facts->stop == VERDICT_STOP_CONTAINER && !facts->stop_reason)
                decision.missing |= VERDICT_MISSING_STOP_REASON;
        if (!is_cri_stop(facts->stop))
                decision.missing |= VERDICT_MISSING_CLIENT;
        return decision;
}

/* Asked to stop, and ended then; @signal 0: by itself. */
static VerdictDecision decide_stop(const VerdictFacts *facts, int signal) {
        VerdictDecision decision = { .verdict = VERDICT_STOPPED };

        if (signal == SIGKILL && is_stop(facts->stop) && facts->origin != VERDICT_ORIGIN_SELF)
                decision = killed_after_stop(facts);
        return with_reason(facts, decision);
}

static VerdictDecision decide_oom(const VerdictFacts *facts) {
        switch (facts->oom_scope) {
        case VERDICT_SCOPE_CONTAINER:
                return (VerdictDecision){ .verdict = VERDICT_OOM_CONTAINER, .signal = SIGKILL };
        case VERDICT_SCOPE_POD:
                return (VerdictDecision){ .verdict = VERDICT_OOM_POD, .signal = SIGKILL };
        case VERDICT_SCOPE_GROUP:
        case VERDICT_SCOPE_NODE:
                return (VerdictDecision){ .verdict = VERDICT_OOM_NODE, .signal = SIGKILL };
        default:
                return unknown(VERDICT_MISSING_OOM_SCOPE);
        }
}

static VerdictDecision decide_signal(const VerdictFacts *facts, int signal) {
        const VerdictDecision killed = { .verdict = VERDICT_KILLED, .signal = signal };

        switch (facts->origin) {
        case VERDICT_ORIGIN_KERNEL:
                /* abort() by a pid namespace's first process: it ignores its SIGABRT, then glibc executes hlt. */
                if (is_crash(signal))
                        return (VerdictDecision){
                                .verdict = VERDICT_CRASHED,
                                .signal = signal == SIGSEGV && facts->ignored == SIGABRT ? SIGABRT : signal,
                        };
                return signal == SIGKILL ? unknown(VERDICT_MISSING_KERNEL) : killed;
        case VERDICT_ORIGIN_SELF:
                if (signal == SIGABRT)
                        return (VerdictDecision){ .verdict = VERDICT_CRASHED, .signal = SIGABRT };
                /* The good way to end by a signal that one handles. */
                return is_stop(facts->stop) ? decide_stop(facts, signal) : killed;
        case VERDICT_ORIGIN_PARENT:
        case VERDICT_ORIGIN_CONTAINER:
                return killed;
        case VERDICT_ORIGIN_NAMESPACE:
                return is_stop(facts->stop) ? decide_stop(facts, signal) : unknown(VERDICT_MISSING_NAMESPACE);
        case VERDICT_ORIGIN_HOST:
                if (sent_by_runtime(facts))
                        return decide_stop(facts, signal);
                return facts->kill_program ? killed : unknown(VERDICT_MISSING_SENDER);
        default:
                /* A signal that a crash sends as well is no proof of the stop that came before. */
                if (!is_stop(facts->stop) || is_crash(signal) || signal == SIGABRT)
                        return unknown(VERDICT_MISSING_SENDER);
                return decide_stop(facts, signal);
        }
}

static VerdictDecision decide_code(const VerdictFacts *facts) {
        if (is_stop(facts->stop))
                return decide_stop(facts, 0);
        if (facts->stop == VERDICT_STOP_UNSEEN)
                return unknown(VERDICT_MISSING_STOP);
        return (VerdictDecision){ .verdict = facts->exit_code == 0 ? VERDICT_COMPLETED : VERDICT_EXITED };
}

/* Engines kill a container that has lost its monitor, and what the death of that brings about is no cause, either. */
static bool is_lost(const VerdictFacts *facts, int signal) {
        bool aftermath = facts->origin == VERDICT_ORIGIN_NONE || facts->origin == VERDICT_ORIGIN_PARENT ||
                         facts->origin == VERDICT_ORIGIN_NAMESPACE || sent_by_runtime(facts);

        if (!facts->lost)
                return false;
        return signal == 0 ? facts->exit_code < 0 : signal == SIGKILL && aftermath && !is_cri_stop(facts->stop);
}

VerdictDecision verdict_decide(const VerdictFacts *facts) {
        int signal;

        assert(facts);

        signal = signal_of(facts);
        if (facts->start_failure)
                return (VerdictDecision){ .verdict = VERDICT_START_FAILED };
        if (facts->oom_ended && (signal == SIGKILL || (signal == 0 && facts->exit_code < 0)))
                return decide_oom(facts);
        if (is_lost(facts, signal))
                return (VerdictDecision){ .verdict = VERDICT_LOST };
        if (signal != 0)
                return decide_signal(facts, signal);
        return facts->exit_code < 0 ? unknown(VERDICT_MISSING_STATUS) : decide_code(facts);
}

VerdictDecision verdict_settle(const VerdictFacts *facts, Verdict emitted, bool *ret_disagrees) {
        VerdictFacts settled = *facts;
        VerdictDecision decision;
        bool disagrees;

        settled.settled = true;
        decision = verdict_decide(&settled);
        disagrees = emitted != VERDICT_UNKNOWN && decision.verdict != emitted;
        if (ret_disagrees)
                *ret_disagrees = disagrees && decision.verdict != VERDICT_UNKNOWN;
        if (disagrees)
                decision = (VerdictDecision){ .verdict = emitted, .signal = signal_of(facts) };
        return decision;
}

static const struct {
        const char *key;
        size_t offset;  /* of an int64_t */
        int64_t absent; /* this and less is not known */
} numbers[] = {
        { VERDICT_ATTR_KILL_PID, offsetof(VerdictFacts, kill_pid), 0 },
        { VERDICT_ATTR_KILL_UID, offsetof(VerdictFacts, kill_uid), -1 },
        { VERDICT_ATTR_OOM_LIMIT, offsetof(VerdictFacts, oom_limit_bytes), 0 },
        { VERDICT_ATTR_OOM_PID, offsetof(VerdictFacts, oom_pid), 0 },
        { VERDICT_ATTR_OOM_RSS, offsetof(VerdictFacts, oom_rss_bytes), 0 },
        { VERDICT_ATTR_STOP_GRACE, offsetof(VerdictFacts, stop_grace_ms), -1 },
        { VERDICT_ATTR_MEMORY_LOW, offsetof(VerdictFacts, memory_low), -1 },
        { VERDICT_ATTR_MEMORY_HIGH, offsetof(VerdictFacts, memory_high), -1 },
        { VERDICT_ATTR_MEMORY_MAX, offsetof(VerdictFacts, memory_max), -1 },
        { VERDICT_ATTR_MEMORY_OOM, offsetof(VerdictFacts, memory_oom), -1 },
        { VERDICT_ATTR_MEMORY_KILL, offsetof(VerdictFacts, memory_oom_kill), -1 },
        { VERDICT_ATTR_MEMORY_GROUP, offsetof(VerdictFacts, memory_oom_group_kill), -1 },
        { VERDICT_ATTR_THROTTLED_NS, offsetof(VerdictFacts, throttled_ns), -1 },
        { VERDICT_ATTR_THROTTLED, offsetof(VerdictFacts, throttled_periods), -1 },
        { VERDICT_ATTR_PERIODS, offsetof(VerdictFacts, periods), -1 },
};

static const struct {
        const char *key;
        size_t offset; /* of a const char * */
} texts[] = {
        { VERDICT_ATTR_KILL_PROGRAM, offsetof(VerdictFacts, kill_program) },
        { VERDICT_ATTR_KILL_CONTAINER, offsetof(VerdictFacts, kill_container) },
        { VERDICT_ATTR_OOM_PROGRAM, offsetof(VerdictFacts, oom_program) },
        { VERDICT_ATTR_STOP_REASON, offsetof(VerdictFacts, stop_reason) },
};

#define FIELD(type, facts, offset) (*(type *) (void *) ((char *) (facts) + (offset)))

static void set_missing(Span *span, uint32_t missing) {
        char words[256] = "";
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(missings); i++)
                if (missing & (uint32_t) missings[i].bit)
                        n += (size_t) snprintf(words + n, sizeof(words) - n, "%s%s", n > 0 ? "," : "",
                                               missings[i].word);
        span_attr_str(span, VERDICT_ATTR_MISSING, words);
}

void verdict_set(Span *span, const VerdictFacts *facts, const VerdictDecision *decision) {
        VerdictFacts *all = (VerdictFacts *) facts;
        char name[VERDICT_SIGNAL_MAX];

        assert(facts);

        if (decision) {
                span_attr_str(span, VERDICT_ATTR_VERDICT, verdict_word(decision->verdict));
                set_missing(span, decision->missing);
        }
        if (facts->origin != VERDICT_ORIGIN_NONE) {
                span_attr_str(span, VERDICT_ATTR_ORIGIN, verdict_origin_word(facts->origin));
                if (facts->signal > 0)
                        span_attr_str(span, VERDICT_ATTR_KILL_SIGNAL, verdict_signal_name(facts->signal, name));
        }
        if (facts->ignored > 0)
                span_attr_str(span, VERDICT_ATTR_KILL_IGNORED, verdict_signal_name(facts->ignored, name));
        span_attr_str(span, VERDICT_ATTR_OOM_SCOPE, verdict_scope_word(facts->oom_scope));
        span_attr_str(span, VERDICT_ATTR_STOP_METHOD, verdict_stop_word(facts->stop));
        if (facts->stop_asked_ns > 0)
                span_attr_int(span, VERDICT_ATTR_STOP_ASKED, (int64_t) facts->stop_asked_ns);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                span_attr_str(span, texts[i].key, FIELD(const char *, all, texts[i].offset));
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                int64_t number = FIELD(int64_t, all, numbers[i].offset);

                if (number > numbers[i].absent)
                        span_attr_int(span, numbers[i].key, number);
        }
}

/* Of what is read twice the last counts, as with all attributes. */
typedef struct Read {
        VerdictFacts facts;
        const char *verdict;
        bool oom_killed;
} Read;

static void read_string(Read *read, const char *key, const char *value) {
        VerdictFacts *facts = &read->facts;
        size_t at;

        if (strcmp(key, VERDICT_ATTR_VERDICT) == 0)
                read->verdict = value;
        else if (strcmp(key, "podspan.process.signal") == 0) {
                facts->signal = verdict_signal_parse(value);
                facts->exact = true;
        } else if (strcmp(key, VERDICT_ATTR_KILL_IGNORED) == 0)
                facts->ignored = verdict_signal_parse(value);
        else if (strcmp(key, VERDICT_ATTR_ORIGIN) == 0) {
                at = find_word(origins, ARRAY_SIZE(origins), value);
                facts->origin = at < ARRAY_SIZE(origins) ? (VerdictOrigin) at : VERDICT_ORIGIN_NONE;
        } else if (strcmp(key, VERDICT_ATTR_OOM_SCOPE) == 0) {
                at = find_word(scopes, ARRAY_SIZE(scopes), value);
                facts->oom_scope = at < ARRAY_SIZE(scopes) ? (VerdictScope) at : VERDICT_SCOPE_NONE;
        } else if (strcmp(key, VERDICT_ATTR_STOP_METHOD) == 0) {
                at = find_word(stops, ARRAY_SIZE(stops), value);
                facts->stop = at < ARRAY_SIZE(stops) ? (VerdictStop) at : VERDICT_STOP_UNSEEN;
        }
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (strcmp(key, texts[i].key) == 0)
                        FIELD(const char *, facts, texts[i].offset) = value;
}

static void read_number(Read *read, const char *key, int64_t value) {
        VerdictFacts *facts = &read->facts;

        if (strcmp(key, "process.exit.code") == 0)
                facts->exit_code = value >= 0 ? value : -1;
        else if (strcmp(key, VERDICT_ATTR_STOP_ASKED) == 0)
                facts->stop_asked_ns = value > 0 ? (uint64_t) value : 0;
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                if (strcmp(key, numbers[i].key) == 0 && value > numbers[i].absent)
                        FIELD(int64_t, facts, numbers[i].offset) = value;
}

static void read_attribute(Read *read, const Podspan__Otlp__KeyValue *pair) {
        const Podspan__Otlp__AnyValue *value = pair->value;

        if (!value)
                return;
        switch (value->value_case) {
        case PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
                if (*value->string_value)
                        read_string(read, pair->key, value->string_value);
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE:
                read_number(read, pair->key, value->int_value);
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
                if (strcmp(pair->key, "podspan.oom_killed") == 0)
                        read->oom_killed = value->bool_value;
                break;
        default:
                break;
        }
}

void verdict_read(const Podspan__Otlp__Span *span, VerdictFacts *ret, Verdict *ret_emitted) {
        Read read = { .facts = VERDICT_FACTS_NONE };
        Verdict emitted = VERDICT_UNKNOWN;

        assert(ret);
        assert(ret_emitted);

        for (size_t i = 0; i < span->n_attributes; i++)
                read_attribute(&read, span->attributes[i]);
        read.facts.ended_ns = span->end_time_unix_nano;
        read.facts.oom_ended = read.oom_killed;
        if (read.verdict && verdict_parse(read.verdict, &emitted) == 0) {
                /* Its emitter reads the kernel's wait status. */
                read.facts.exact = true;
                read.facts.lost = emitted == VERDICT_LOST;
                if (emitted == VERDICT_START_FAILED)
                        read.facts.start_failure = span->status && span->status->message ? span->status->message : "";
        }
        *ret = read.facts;
        *ret_emitted = emitted;
}
