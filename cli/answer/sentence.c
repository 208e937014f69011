#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "sentence.h"
#include "text.h"
#include "util.h"

/* A sentence under construction; what does not fit is cut. */
typedef struct Words {
        char *s;
        size_t size;
        size_t n;
} Words;

_printf_(2, 3) static void add(Words *words, const char *format, ...) {
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(words->s + words->n, words->size - words->n, format, args);
        va_end(args);
        if (n > 0)
                words->n = MIN(words->n + (size_t) n, words->size - 1);
}

const char *sentence_clock(uint64_t ns, char ret[static SENTENCE_CLOCK_MAX]) {
        time_t s = (time_t) (ns / NSEC_PER_SEC);
        struct tm tm;

        if (!localtime_r(&s, &tm) || strftime(ret, SENTENCE_CLOCK_MAX, "%H:%M:%S", &tm) == 0)
                strcpy(ret, "?");
        return ret;
}

/* "20 MiB", "19.8 MiB": a limit is a round number as a rule. */
static void size_of(int64_t bytes, char ret[static TEXT_SIZE_MAX]) {
        char *zero;

        text_size((uint64_t) bytes, ret);
        zero = strstr(ret, ".0 ");
        if (zero)
                memmove(zero, zero + 2, strlen(zero + 2) + 1);
}

const char *sentence_reason(const char *words) {
        /* What each layer says before it hands on what the one below said. */
        static const char *const prefixes[] = {
                "UNKNOWN: ",
                "INTERNAL: ",
                "rpc error: ",
                "code = Unknown ",
                "desc = ",
                "failed to create containerd task: ",
                "failed to start containerd task ",
                "failed to create containerd container: ",
                "failed to create shim task: ",
                "failed to create shim: ",
                "failed to start sandbox container task ",
                "failed to start sandbox ",
                "OCI runtime create failed: ",
                "OCI runtime start failed: ",
                "container create failed: ",
                "runc create failed: ",
                "runc start failed: ",
                "crun create failed: ",
                "unable to start container process: ",
                "error during container init: ",
        };

        for (size_t i = 0; i < ARRAY_SIZE(prefixes);) {
                size_t n = strlen(prefixes[i]);

                if (strncmp(words, prefixes[i], n) == 0 && words[n] != '\0') {
                        words += n;
                        /* The name of what could not be started. */
                        if (*words == '"' && prefixes[i][n - 2] != ':') {
                                const char *end = strstr(words + 1, "\": ");

                                if (end && end[3] != '\0')
                                        words = end + 3;
                        }
                        i = 0;
                } else
                        i++;
        }
        return words;
}

static int signal_of(const VerdictFacts *facts, const VerdictDecision *decision) {
        if (decision && decision->signal > 0)
                return decision->signal;
        if (facts->signal > 0)
                return facts->signal;
        return !facts->exact && facts->exit_code > 128 && facts->exit_code <= 128 + 64 ? (int) facts->exit_code - 128
                                                                                       : 0;
}

void sentence_status(const VerdictFacts *facts, char ret[static SENTENCE_WORDS_MAX]) {
        int signal = signal_of(facts, NULL);
        char name[VERDICT_SIGNAL_MAX];

        ret[0] = '\0';
        if (signal > 0)
                (void) snprintf(ret, SENTENCE_WORDS_MAX, "%s", verdict_signal_name(signal, name));
        else if (facts->exit_code >= 0)
                (void) snprintf(ret, SENTENCE_WORDS_MAX, "exit code %" PRId64, facts->exit_code);
}

/* ", 4.1 s after start" */
static void add_age(Words *words, const VerdictFacts *facts, uint64_t start_ns) {
        char age[TEXT_DURATION_MAX];

        if (start_ns == 0 || facts->ended_ns < start_ns)
                return;
        text_duration(facts->ended_ns - start_ns, age);
        add(words, ", %s after start", age);
}

static void add_duration_ms(Words *words, int64_t ms) {
        if (ms % 1000 == 0)
                add(words, "%" PRId64 " s", ms / 1000);
        else
                add(words, "%" PRId64 ".%0*" PRId64 " s", ms / 1000, ms % 100 == 0 ? 1 : 3,
                    ms % 100 == 0 ? ms % 1000 / 100 : ms % 1000);
}

/* "StopContainer with 30 s grace at 10:00:03" */
static void add_stop(Words *words, const VerdictFacts *facts) {
        char clock[SENTENCE_CLOCK_MAX];

        if (facts->stop == VERDICT_STOP_ENGINE) {
                if (verdict_is_runtime(facts->kill_program))
                        add(words, "a client of the engine, by `%s`", facts->kill_program);
                else
                        add(words, "a client of the engine");
        } else
                add(words, "%s", verdict_stop_word(facts->stop));
        if (facts->stop_grace_ms > 0) {
                add(words, " with ");
                add_duration_ms(words, facts->stop_grace_ms);
                add(words, " grace");
        } else if (facts->stop_grace_ms == 0 && facts->stop != VERDICT_STOP_ENGINE)
                add(words, " without grace");
        if (facts->stop_asked_ns > 0)
                add(words, " at %s", sentence_clock(facts->stop_asked_ns, clock));
}

/* "; ended 0.4 s later with exit code 143" */
static void add_end(Words *words, const VerdictFacts *facts) {
        int signal = signal_of(facts, NULL);
        char name[VERDICT_SIGNAL_MAX], later[TEXT_DURATION_MAX] = "";

        if (facts->stop_asked_ns > 0 && facts->ended_ns >= facts->stop_asked_ns)
                text_duration(facts->ended_ns - facts->stop_asked_ns, later);
        if (signal > 0)
                add(words, "; %s ended it", verdict_signal_name(signal, name));
        else
                add(words, "; it ended");
        if (*later)
                add(words, " %s later", later);
        if (signal == 0 && facts->exit_code >= 0)
                add(words, " with exit code %" PRId64, facts->exit_code);
}

static void add_ignored(Words *words, const VerdictFacts *facts) {
        char name[VERDICT_SIGNAL_MAX];

        if (facts->ignored > 0)
                add(words, "; it ignored %s", verdict_signal_name(facts->ignored, name));
}

static bool has_stop(const VerdictFacts *facts) {
        return facts->stop >= VERDICT_STOP_ENGINE && facts->stop < _VERDICT_STOP_MAX;
}

static void add_reason(Words *words, const VerdictFacts *facts) {
        if (facts->stop_reason)
                add(words, " (%s)", facts->stop_reason);
}

static void tell_stopped(Words *words, const VerdictFacts *facts) {
        if (!has_stop(facts)) {
                add(words, "Stopped by `%s`", facts->kill_program ?: "the runtime");
                if (facts->kill_pid > 0)
                        add(words, " (pid %" PRId64 ")", facts->kill_pid);
                add_reason(words, facts);
                add(words, " for a client of the engine");
                add_end(words, facts);
                add(words, ".");
                return;
        }
        add(words, "Asked to stop");
        add_reason(words, facts);
        add(words, ": ");
        add_stop(words, facts);
        add_end(words, facts);
        add(words, ".");
}

static void tell_stop_timeout(Words *words, const VerdictFacts *facts) {
        char clock[SENTENCE_CLOCK_MAX];
        uint64_t until_ns = facts->ended_ns;

        add(words, "Asked to stop");
        add_reason(words, facts);
        add(words, ": ");
        add_stop(words, facts);
        add_ignored(words, facts);
        if (facts->stop_asked_ns > 0 && facts->stop_grace_ms >= 0 && facts->stop_grace_ms < INT32_MAX)
                until_ns = facts->stop_asked_ns + (uint64_t) facts->stop_grace_ms * NSEC_PER_MSEC;
        if (until_ns > 0)
                add(words, "; still running at %s", sentence_clock(until_ns, clock));
        add(words, "; killed by the runtime.");
}

static void tell_probe(Words *words, const VerdictFacts *facts) {
        add(words, "Killed by kubelet: %s; ", facts->stop_reason ?: "a probe failed");
        if (has_stop(facts)) {
                add_stop(words, facts);
                add_end(words, facts);
        } else {
                char status[SENTENCE_WORDS_MAX];

                sentence_status(facts, status);
                add(words, "it ended by %s", *status ? status : "an unknown signal");
        }
        add(words, ".");
}

static const char *limit_of(VerdictScope scope) {
        switch (scope) {
        case VERDICT_SCOPE_CONTAINER:
                return "container limit";
        case VERDICT_SCOPE_POD:
                return "pod limit";
        case VERDICT_SCOPE_GROUP:
                return "limit of a group above the pod";
        case VERDICT_SCOPE_NODE:
                return "the node ran out of memory";
        default:
                return "whose limit is not known";
        }
}

static void add_limit(Words *words, const VerdictFacts *facts) {
        char size[TEXT_SIZE_MAX];

        add(words, "%s", limit_of(facts->oom_scope));
        if (facts->oom_limit_bytes > 0 && facts->oom_scope != VERDICT_SCOPE_NODE) {
                size_of(facts->oom_limit_bytes, size);
                add(words, " %s", size);
        }
}

static void tell_oom(Words *words, const VerdictFacts *facts, uint64_t start_ns) {
        char size[TEXT_SIZE_MAX];

        add(words, "Killed by the OOM killer: ");
        add_limit(words, facts);
        if (facts->oom_program)
                add(words, ", victim `%s`", facts->oom_program);
        else if (facts->oom_pid > 0)
                add(words, ", victim pid %" PRId64, facts->oom_pid);
        if (facts->oom_rss_bytes > 0) {
                size_of(facts->oom_rss_bytes, size);
                add(words, facts->oom_program || facts->oom_pid > 0 ? " (%s)" : ", victim of %s", size);
        }
        add_age(words, facts, start_ns);
        add(words, ".");
}

static void tell_crashed(Words *words, const VerdictFacts *facts, int signal, uint64_t start_ns) {
        const char *description = sigdescr_np(signal);
        char name[VERDICT_SIGNAL_MAX];

        add(words, "Crashed");
        if (signal > 0)
                add(words, ": %s", verdict_signal_name(signal, name));
        if (description)
                add(words, " (%s)", description);
        add_age(words, facts, start_ns);
        add(words, ".");
}

/* "from `sh` (pid 4711, uid 0, on the host)" */
static void add_sender(Words *words, const VerdictFacts *facts) {
        const char *comma = "";

        switch (facts->origin) {
        case VERDICT_ORIGIN_SELF:
                add(words, " that it sent itself");
                return;
        case VERDICT_ORIGIN_KERNEL:
                add(words, " from the kernel");
                return;
        case VERDICT_ORIGIN_PARENT:
                add(words, " because its parent ended (parent-death signal)");
                return;
        case VERDICT_ORIGIN_NAMESPACE:
                add(words, " because the first process of its pid namespace ended");
                return;
        default:
                break;
        }

        if (facts->kill_program)
                add(words, " from `%s`", facts->kill_program);
        else
                add(words, " from a process");
        add(words, " (");
        if (facts->kill_pid > 0) {
                add(words, "pid %" PRId64, facts->kill_pid);
                comma = ", ";
        }
        if (facts->kill_uid >= 0) {
                add(words, "%suid %" PRId64, comma, facts->kill_uid);
                comma = ", ";
        }
        if (facts->origin == VERDICT_ORIGIN_HOST)
                add(words, "%son the host", comma);
        else if (facts->kill_container)
                add(words, "%sin container %.12s", comma, facts->kill_container);
        else
                add(words, "%sin a container", comma);
        add(words, ")");
}

static void tell_killed(Words *words, const VerdictFacts *facts, int signal, uint64_t start_ns) {
        char name[VERDICT_SIGNAL_MAX];

        add(words, "Killed by %s", signal > 0 ? verdict_signal_name(signal, name) : "a signal");
        add_sender(words, facts);
        add_age(words, facts, start_ns);
        add(words, ".");
}

static void add_missing(Words *words, uint32_t missing) {
        const char *comma = "";

        for (uint32_t bit = 1; bit < _VERDICT_MISSING_END; bit <<= 1)
                if (missing & bit) {
                        add(words, "%s%s", comma, verdict_missing_text((VerdictMissing) bit));
                        comma = ", ";
                }
}

static void tell_unknown(Words *words, const VerdictFacts *facts, const VerdictDecision *decision, uint64_t start_ns) {
        char status[SENTENCE_WORDS_MAX];

        sentence_status(facts, status);
        add(words, "Cause not known: ");
        if (*status)
                add(words, "it ended by %s", status);
        else
                add(words, "it ended");
        add_age(words, facts, start_ns);
        if (decision->missing != 0) {
                add(words, "; not known is ");
                add_missing(words, decision->missing);
        }
        add(words, ".");
}

void sentence_full(const VerdictFacts *facts, const VerdictDecision *decision, uint64_t start_ns,
                   char ret[static SENTENCE_MAX]) {
        Words words = { .s = ret, .size = SENTENCE_MAX };
        int signal = signal_of(facts, decision);
        char name[VERDICT_SIGNAL_MAX];

        ret[0] = '\0';
        switch (decision->verdict) {
        case VERDICT_COMPLETED:
                add(&words, "Completed: exit code 0");
                add_age(&words, facts, start_ns);
                add(&words, ".");
                break;
        case VERDICT_EXITED:
                add(&words, "Exited by itself");
                if (facts->exit_code >= 0)
                        add(&words, " with code %" PRId64, facts->exit_code);
                add_age(&words, facts, start_ns);
                add(&words, ".");
                break;
        case VERDICT_STOPPED:
                tell_stopped(&words, facts);
                break;
        case VERDICT_STOP_TIMEOUT:
                tell_stop_timeout(&words, facts);
                break;
        case VERDICT_PROBE_KILLED:
                tell_probe(&words, facts);
                break;
        case VERDICT_OOM_CONTAINER:
        case VERDICT_OOM_POD:
        case VERDICT_OOM_NODE:
                tell_oom(&words, facts, start_ns);
                break;
        case VERDICT_CRASHED:
                tell_crashed(&words, facts, signal, start_ns);
                break;
        case VERDICT_KILLED:
                tell_killed(&words, facts, signal, start_ns);
                break;
        case VERDICT_START_FAILED:
                add(&words, "Failed to start: %s",
                    facts->start_failure && *facts->start_failure ? sentence_reason(facts->start_failure)
                                                                  : "the runtime gave no reason");
                break;
        case VERDICT_LOST:
                add(&words, "Lost: the monitor or the shim died before the container");
                if (signal > 0)
                        add(&words, ", which then ended by %s", verdict_signal_name(signal, name));
                else
                        add(&words, "; no process saw how it ended");
                add(&words, ".");
                break;
        default:
                tell_unknown(&words, facts, decision, start_ns);
                break;
        }
}

static void say_killed(Words *words, const VerdictFacts *facts, int signal) {
        char name[VERDICT_SIGNAL_MAX];

        add(words, "%s", signal > 0 ? verdict_signal_name(signal, name) : "killed");
        switch (facts->origin) {
        case VERDICT_ORIGIN_SELF:
                add(words, " from itself");
                break;
        case VERDICT_ORIGIN_KERNEL:
                add(words, " from the kernel");
                break;
        case VERDICT_ORIGIN_PARENT:
                add(words, ", its parent ended");
                break;
        case VERDICT_ORIGIN_NAMESPACE:
                add(words, ", its namespace ended");
                break;
        default:
                add(words, " from %s (%s)", facts->kill_program ?: "a process",
                    facts->origin == VERDICT_ORIGIN_HOST ? "host" : "container");
                break;
        }
}

static void say_oom(Words *words, const VerdictFacts *facts) {
        add(words, "OOM, ");
        if (facts->oom_scope == VERDICT_SCOPE_NODE)
                add(words, "node");
        else if (facts->oom_scope == VERDICT_SCOPE_GROUP) {
                char size[TEXT_SIZE_MAX];

                add(words, "group limit");
                if (facts->oom_limit_bytes > 0) {
                        size_of(facts->oom_limit_bytes, size);
                        add(words, " %s", size);
                }
        } else
                add_limit(words, facts);
}

static void say_stopped(Words *words, const VerdictFacts *facts) {
        char status[SENTENCE_WORDS_MAX];

        sentence_status(facts, status);
        if (facts->stop_reason)
                add(words, "stopped: %s", facts->stop_reason);
        else
                add(words, "stopped%s%s", *status ? ", " : "", status);
}

void sentence_words(const VerdictFacts *facts, const VerdictDecision *decision, char ret[static SENTENCE_WORDS_MAX]) {
        Words words = { .s = ret, .size = SENTENCE_WORDS_MAX };
        int signal = signal_of(facts, decision);
        char name[VERDICT_SIGNAL_MAX];
        uint32_t first;

        ret[0] = '\0';
        switch (decision->verdict) {
        case VERDICT_COMPLETED:
                add(&words, "completed");
                break;
        case VERDICT_EXITED:
                if (facts->exit_code >= 0)
                        add(&words, "exit code %" PRId64, facts->exit_code);
                else
                        add(&words, "exited");
                break;
        case VERDICT_STOPPED:
                say_stopped(&words, facts);
                break;
        case VERDICT_STOP_TIMEOUT:
                add(&words, "killed after ");
                if (facts->stop_grace_ms > 0) {
                        add_duration_ms(&words, facts->stop_grace_ms);
                        add(&words, " grace");
                } else
                        add(&words, "the grace period");
                break;
        case VERDICT_PROBE_KILLED:
                add(&words, "%s", facts->stop_reason ?: "a probe failed");
                break;
        case VERDICT_OOM_CONTAINER:
        case VERDICT_OOM_POD:
        case VERDICT_OOM_NODE:
                say_oom(&words, facts);
                break;
        case VERDICT_CRASHED:
                add(&words, "crashed%s%s", signal > 0 ? ", " : "", signal > 0 ? verdict_signal_name(signal, name) : "");
                break;
        case VERDICT_KILLED:
                say_killed(&words, facts, signal);
                break;
        case VERDICT_START_FAILED:
                add(&words, "start failed%s%s", facts->start_failure && *facts->start_failure ? ": " : "",
                    facts->start_failure ? sentence_reason(facts->start_failure) : "");
                break;
        case VERDICT_LOST:
                add(&words, "lost, its end was not seen");
                break;
        default:
                first = decision->missing & -decision->missing;
                add(&words, "unknown%s%s", first ? ": " : "",
                    first ? verdict_missing_text((VerdictMissing) first) : "");
                break;
        }
}
