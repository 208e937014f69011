#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "util.h"
#include "otlp.pb-c.h"
#include "verdict.h"

#define SEC 1000000000ULL
#define T   (1000000 * SEC) /* the stop was asked for */

#define NONE                                                                                                         \
        .exit_code = -1, .kill_uid = -1, .stop_grace_ms = -1, .memory_low = -1, .memory_high = -1, .memory_max = -1, \
        .memory_oom = -1, .memory_oom_kill = -1, .memory_oom_group_kill = -1, .throttled_ns = -1,                    \
        .throttled_periods = -1, .periods = -1

/* How it ended. */
#define CODE(n)   .exit_code = n, .exact = true
#define SIGNAL(n) .exit_code = 128 + n, .signal = n, .exact = true
#define AT(s)     .ended_ns = T + (uint64_t) ((s) *1e9)
#define UNASKED   .stop = VERDICT_STOP_NONE
/* Who sent the signal. */
#define HOST(name) .origin = VERDICT_ORIGIN_HOST, .kill_program = name, .kill_pid = 77
#define FROM(what) .origin = VERDICT_ORIGIN_##what
/* Who asked. */
#define CALL(what, ms) .stop = VERDICT_STOP_##what, .stop_asked_ns = T, .stop_grace_ms = ms
#define STOP(ms)       CALL(CONTAINER, ms)
#define SETTLED        .in_pod = true, .settled = true
#define EARLY          .in_pod = true

/* A case says what it knows, over NONE. */
#pragma GCC diagnostic ignored "-Woverride-init"

static const struct {
        VerdictFacts facts;
        VerdictDecision decision;
} cases[] = {
#define CASE(v, m, s, ...)                \
        {                                 \
                { NONE, __VA_ARGS__ }, {  \
                        VERDICT_##v, m, s \
                }                         \
        }
        /* completed, exited: nobody asked. Without knowing that, neither. */
        CASE(COMPLETED, 0, 0, CODE(0), UNASKED),
        CASE(COMPLETED, 0, 0, CODE(0), UNASKED, SETTLED),
        CASE(EXITED, 0, 0, CODE(7), UNASKED),
        CASE(EXITED, 0, 0, CODE(255), UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_STOP, 0, CODE(0)),
        CASE(UNKNOWN, VERDICT_MISSING_STOP, 0, CODE(7)),
        /* The program exits with 137 by itself, or its child was killed and a shell says so: the wait status tells. */
        CASE(EXITED, 0, 0, CODE(137), UNASKED),
        CASE(EXITED, 0, 0, CODE(139), UNASKED),
        /* Somebody who has no wait status saw 137: a signal, without a sender. */
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, .exit_code = 137, UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, .exit_code = 137),
        CASE(EXITED, 0, 0, .exit_code = 128, UNASKED),
        CASE(EXITED, 0, 0, .exit_code = 193, UNASKED),
        /* 137 without a sender is never "killed". */
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGKILL), UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGKILL)),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGKILL), .origin = VERDICT_ORIGIN_HOST),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGTERM), UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGSEGV), UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_STATUS, 0, UNASKED),
        CASE(UNKNOWN, VERDICT_MISSING_STATUS, 0, STOP(30000), AT(1)),

        /* stopped: within the grace period, whatever the status; also exit code 0. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(0), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(143), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(1), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGTERM), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGTERM), HOST("runc"), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, 0, 0, SIGNAL(SIGTERM), HOST("runc"), STOP(30000), AT(1), SETTLED, .stop_reason = "deleted"),
        /* A handler that ends its process by the same signal. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGTERM), FROM(SELF), STOP(30000), AT(1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGUSR1), STOP(30000), AT(1), SETTLED),
        /* Late, but not by SIGKILL. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(0), STOP(1000), AT(1.5), SETTLED),
        /* A grace period of 0. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGKILL), STOP(0), AT(0.1), SETTLED),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGKILL), HOST("crun"), STOP(0), AT(9), SETTLED),
        /* Killed before the grace period was over: by the runtime, or by nobody knows whom. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGKILL), HOST("runc"), STOP(30000), AT(2), SETTLED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGKILL), STOP(30000), AT(2), SETTLED),
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), HOST("bash"), STOP(30000), AT(2), SETTLED),
        /* The pod's calls. */
        CASE(STOPPED, 0, 0, SIGNAL(SIGTERM), CALL(SANDBOX, -1), AT(1), SETTLED),
        CASE(STOPPED, 0, 0, SIGNAL(SIGKILL), CALL(SANDBOX, 0), AT(1), SETTLED),
        CASE(STOP_TIMEOUT, 0, SIGKILL, SIGNAL(SIGKILL), CALL(SANDBOX, 10000), AT(10.01), EARLY),
        CASE(UNKNOWN, VERDICT_MISSING_GRACE, 0, SIGNAL(SIGKILL), HOST("runc"), CALL(SANDBOX, -1), AT(11), SETTLED),
        CASE(UNKNOWN, VERDICT_MISSING_GRACE, 0, SIGNAL(SIGKILL), HOST("runc"), STOP(30000), SETTLED),
        CASE(STOPPED, 0, 0, SIGNAL(SIGKILL), CALL(REMOVE, -1), AT(1), SETTLED),
        CASE(STOPPED, 0, 0, SIGNAL(SIGKILL), CALL(REMOVE_SANDBOX, -1), AT(20), SETTLED),
        /* Its pid namespace ended because the pod was stopped. */
        CASE(STOPPED, 0, 0, SIGNAL(SIGKILL), FROM(NAMESPACE), CALL(SANDBOX, 10000), AT(1), SETTLED),

        /* stop-timeout: SIGTERM ignored, SIGKILL by the runtime. */
        CASE(STOP_TIMEOUT, VERDICT_MISSING_STOP_REASON, SIGKILL, SIGNAL(SIGKILL), HOST("runc"), STOP(30000), AT(30.02),
             SETTLED, .ignored = SIGTERM),
        CASE(STOP_TIMEOUT, VERDICT_MISSING_STOP_REASON, SIGKILL, SIGNAL(SIGKILL), STOP(30000), AT(30), SETTLED),
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), HOST("bash"), STOP(30000), AT(31), SETTLED),
        CASE(UNKNOWN, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGKILL), HOST("runc"), STOP(1000), AT(1.1), EARLY),

        /* An engine's own stop: of podman, of `ctr task kill`. */
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGTERM), HOST("crun"), UNASKED),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGKILL), HOST("crun")),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGKILL), HOST("containerd-shim")),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGKILL), HOST("podspan-conmon")),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGTERM), HOST("crun"), CALL(ENGINE, -1), AT(0.01)),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, SIGNAL(SIGKILL), HOST("crun"), CALL(ENGINE, -1), AT(0.01)),
        CASE(STOP_TIMEOUT, VERDICT_MISSING_CLIENT, SIGKILL, SIGNAL(SIGKILL), HOST("crun"), CALL(ENGINE, -1), AT(10)),
        CASE(STOPPED, VERDICT_MISSING_CLIENT, 0, CODE(0), CALL(ENGINE, -1), AT(0.01)),
        /* The same name inside a container is no runtime of this node. */
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), FROM(CONTAINER), .kill_program = "runc", .kill_container = "x"),
        CASE(UNKNOWN, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGTERM), HOST("runc"), UNASKED, EARLY),

        /* probe-killed. */
        CASE(PROBE_KILLED, 0, 0, CODE(143), STOP(30000), AT(1), SETTLED, .kubelet_probe = true),
        CASE(PROBE_KILLED, 0, SIGKILL, SIGNAL(SIGKILL), STOP(1000), AT(1.1), SETTLED, .kubelet_probe = true),
        CASE(PROBE_KILLED, 0, 0, CODE(0), STOP(30000), AT(1), SETTLED, .execsync_failed = true, .next_attempt = true),
        CASE(PROBE_KILLED, 0, 0, SIGNAL(SIGTERM), HOST("runc"), UNASKED, SETTLED, .kubelet_probe = true),
        /* A readiness probe failed, then the pod was deleted. */
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(0), STOP(30000), AT(1), SETTLED, .execsync_failed = true,
             .sandbox_stopped = true),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(0), STOP(30000), AT(1), SETTLED, .execsync_failed = true),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, CODE(0), STOP(30000), AT(1), SETTLED, .next_attempt = true),
        CASE(STOPPED, 0, 0, CODE(0), CALL(SANDBOX, -1), AT(1), SETTLED, .execsync_failed = true, .next_attempt = true),
        /* A failed probe stops nothing. */
        CASE(EXITED, 0, 0, CODE(3), UNASKED, SETTLED, .kubelet_probe = true, .next_attempt = true),
        CASE(CRASHED, 0, SIGSEGV, SIGNAL(SIGSEGV), FROM(KERNEL), STOP(30000), AT(1), SETTLED, .kubelet_probe = true),

        /* oom-*: whose limit it was. */
        CASE(OOM_CONTAINER, 0, SIGKILL, SIGNAL(SIGKILL), FROM(KERNEL), .oom_ended = true,
             .oom_scope = VERDICT_SCOPE_CONTAINER),
        CASE(OOM_POD, 0, SIGKILL, SIGNAL(SIGKILL), .oom_ended = true, .oom_scope = VERDICT_SCOPE_POD),
        CASE(OOM_NODE, 0, SIGKILL, SIGNAL(SIGKILL), .oom_ended = true, .oom_scope = VERDICT_SCOPE_NODE),
        CASE(OOM_NODE, 0, SIGKILL, SIGNAL(SIGKILL), .oom_ended = true, .oom_scope = VERDICT_SCOPE_GROUP),
        CASE(UNKNOWN, VERDICT_MISSING_OOM_SCOPE, 0, SIGNAL(SIGKILL), .oom_ended = true,
             .oom_scope = VERDICT_SCOPE_UNKNOWN),
        CASE(UNKNOWN, VERDICT_MISSING_OOM_SCOPE, 0, SIGNAL(SIGKILL), .oom_ended = true),
        CASE(OOM_CONTAINER, 0, SIGKILL, .oom_ended = true, .oom_scope = VERDICT_SCOPE_CONTAINER),
        CASE(OOM_CONTAINER, 0, SIGKILL, SIGNAL(SIGKILL), STOP(1000), AT(2), SETTLED, .oom_ended = true,
             .oom_scope = VERDICT_SCOPE_CONTAINER),
        CASE(OOM_CONTAINER, 0, SIGKILL, SIGNAL(SIGKILL), .lost = true, .oom_ended = true,
             .oom_scope = VERDICT_SCOPE_CONTAINER),
        /* Of a child, then the host killed the container, or its shell exited with 137. */
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), HOST("kill"), .oom_scope = VERDICT_SCOPE_CONTAINER,
             .memory_oom_kill = 1),
        CASE(EXITED, 0, 0, CODE(137), UNASKED, .oom_scope = VERDICT_SCOPE_CONTAINER, .memory_oom_kill = 1),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGKILL), UNASKED, .memory_oom_kill = 1),
        /* It cannot have ended what ended otherwise. */
        CASE(EXITED, 0, 0, CODE(1), UNASKED, .oom_ended = true, .oom_scope = VERDICT_SCOPE_CONTAINER),

        /* crashed. */
        CASE(CRASHED, 0, SIGSEGV, SIGNAL(SIGSEGV), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGBUS, SIGNAL(SIGBUS), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGFPE, SIGNAL(SIGFPE), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGILL, SIGNAL(SIGILL), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGTRAP, SIGNAL(SIGTRAP), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGSYS, SIGNAL(SIGSYS), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGXCPU, SIGNAL(SIGXCPU), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGXFSZ, SIGNAL(SIGXFSZ), FROM(KERNEL)),
        CASE(CRASHED, 0, SIGABRT, SIGNAL(SIGABRT), FROM(SELF)),
        /* abort() of a pid namespace's first process. */
        CASE(CRASHED, 0, SIGABRT, SIGNAL(SIGSEGV), FROM(KERNEL), .ignored = SIGABRT),
        CASE(CRASHED, 0, SIGSEGV, SIGNAL(SIGSEGV), FROM(KERNEL), .ignored = SIGTERM),
        CASE(CRASHED, 0, SIGSEGV, SIGNAL(SIGSEGV), FROM(KERNEL), STOP(30000), AT(1), SETTLED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGSEGV), STOP(30000), AT(1), SETTLED),
        CASE(UNKNOWN, VERDICT_MISSING_SENDER, 0, SIGNAL(SIGABRT), STOP(30000), AT(1), SETTLED),

        /* killed: every other sender. */
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), HOST("python3")),
        CASE(KILLED, 0, SIGSEGV, SIGNAL(SIGSEGV), HOST("bash")),
        CASE(KILLED, 0, SIGABRT, SIGNAL(SIGABRT), HOST("bash")),
        CASE(KILLED, 0, SIGTERM, SIGNAL(SIGTERM), FROM(CONTAINER), .kill_program = "sh", .kill_container = "x"),
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), FROM(SELF)),
        CASE(KILLED, 0, SIGSEGV, SIGNAL(SIGSEGV), FROM(SELF)),
        CASE(KILLED, 0, SIGPIPE, SIGNAL(SIGPIPE), FROM(SELF)),
        CASE(KILLED, 0, SIGALRM, SIGNAL(SIGALRM), FROM(KERNEL)),
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), FROM(PARENT)),
        CASE(UNKNOWN, VERDICT_MISSING_KERNEL, 0, SIGNAL(SIGKILL), FROM(KERNEL)),
        /* A consequence, never a cause. */
        CASE(UNKNOWN, VERDICT_MISSING_NAMESPACE, 0, SIGNAL(SIGKILL), FROM(NAMESPACE)),

        /* start-failed, lost. */
        CASE(START_FAILED, 0, 0, .start_failure = "exec: \"nosuch\": not found"),
        CASE(START_FAILED, 0, 0, CODE(1), .start_failure = "", .lost = true, .oom_ended = true),
        CASE(LOST, 0, 0, .lost = true),
        CASE(LOST, 0, 0, .lost = true, STOP(1000), AT(1)),
        /* The exit was seen all the same. */
        CASE(EXITED, 0, 0, CODE(7), UNASKED, .lost = true),
        CASE(KILLED, 0, SIGKILL, SIGNAL(SIGKILL), HOST("bash"), .lost = true),
        CASE(STOPPED, VERDICT_MISSING_STOP_REASON, 0, SIGNAL(SIGTERM), STOP(1000), AT(1), SETTLED, .lost = true),
        /* What the engine kills because the shim died, and what dies with the monitor. */
        CASE(LOST, 0, 0, SIGNAL(SIGKILL), HOST("runc"), .lost = true),
        CASE(LOST, 0, 0, SIGNAL(SIGKILL), FROM(PARENT), .lost = true),
        CASE(LOST, 0, 0, SIGNAL(SIGKILL), .lost = true),
};

static void decisions(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                VerdictDecision decision = verdict_decide(&cases[i].facts);

                if (decision.verdict != cases[i].decision.verdict || decision.missing != cases[i].decision.missing ||
                    decision.signal != cases[i].decision.signal)
                        fail_msg("case %zu: %s, missing %#x, signal %d; expected %s, %#x, %d", i,
                                 verdict_word(decision.verdict), decision.missing, decision.signal,
                                 verdict_word(cases[i].decision.verdict), cases[i].decision.missing,
                                 cases[i].decision.signal);
        }
}

/* What an emitter decides, a reader with the same facts and more of its own decides, too. */
static void settled(void **state) {
        bool disagrees;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (int more = 0; more < 8; more++) {
                        VerdictFacts facts = cases[i].facts;
                        VerdictDecision emitted, decision;

                        facts.settled = facts.kubelet_probe = facts.execsync_failed = facts.next_attempt = false;
                        facts.in_pod = true;
                        emitted = verdict_decide(&facts);

                        facts.kubelet_probe = more & 1;
                        facts.execsync_failed = facts.next_attempt = more & 2;
                        facts.sandbox_stopped = more & 4;
                        decision = verdict_settle(&facts, emitted.verdict, &disagrees);
                        if (disagrees || (emitted.verdict != VERDICT_UNKNOWN && decision.verdict != emitted.verdict))
                                fail_msg("case %zu, %d: %s, later %s", i, more, verdict_word(emitted.verdict),
                                         verdict_word(decision.verdict));
                }
}

static void disagreement(void **state) {
        VerdictFacts facts = { NONE, CODE(0), UNASKED, AT(1) };
        VerdictDecision decision;
        bool disagrees = false;

        (void) state;

        verdict_add_stop(&facts, VERDICT_STOP_CONTAINER, T, 30000);
        decision = verdict_settle(&facts, VERDICT_COMPLETED, &disagrees);
        assert_true(disagrees);
        assert_int_equal(decision.verdict, VERDICT_COMPLETED);
        decision = verdict_settle(&facts, VERDICT_UNKNOWN, &disagrees);
        assert_false(disagrees);
        assert_int_equal(decision.verdict, VERDICT_STOPPED);

        /* Less is known now than then: no disagreement. */
        facts = (VerdictFacts){ NONE, SIGNAL(SIGKILL) };
        decision = verdict_settle(&facts, VERDICT_KILLED, &disagrees);
        assert_false(disagrees);
        assert_int_equal(decision.verdict, VERDICT_KILLED);
        assert_int_equal(decision.signal, SIGKILL);
        assert_int_equal(verdict_settle(&facts, VERDICT_KILLED, NULL).verdict, VERDICT_KILLED);
}

static void stops(void **state) {
        static const struct {
                struct {
                        VerdictStop stop;
                        uint64_t asked_ns;
                        int64_t grace_ms;
                } add[3];
                VerdictStop stop;
                uint64_t asked_ns;
                int64_t grace_ms;
        } added[] = {
                { { { VERDICT_STOP_CONTAINER, T, 30000 } }, VERDICT_STOP_CONTAINER, T, 30000 },
                /* After the end. */
                { { { VERDICT_STOP_CONTAINER, T + 101 * SEC, 0 } }, VERDICT_STOP_NONE, 0, -1 },
                { { { VERDICT_STOP_CONTAINER, T, 30000 }, { VERDICT_STOP_CONTAINER, T + SEC, 0 } },
                  VERDICT_STOP_CONTAINER,
                  T + SEC,
                  0 },
                { { { VERDICT_STOP_CONTAINER, T, 30000 }, { VERDICT_STOP_CONTAINER, T + SEC, 40000 } },
                  VERDICT_STOP_CONTAINER,
                  T,
                  30000 },
                { { { VERDICT_STOP_CONTAINER, T, 30000 }, { VERDICT_STOP_SANDBOX, T + 2 * SEC, -1 } },
                  VERDICT_STOP_CONTAINER,
                  T,
                  30000 },
                /* The runtime's kill is a part of the call. */
                { { { VERDICT_STOP_ENGINE, T + SEC, -1 }, { VERDICT_STOP_CONTAINER, T, 30000 } },
                  VERDICT_STOP_CONTAINER,
                  T,
                  30000 },
                { { { VERDICT_STOP_CONTAINER, T, 30000 }, { VERDICT_STOP_ENGINE, T + SEC, -1 } },
                  VERDICT_STOP_CONTAINER,
                  T,
                  30000 },
                { { { VERDICT_STOP_ENGINE, T + SEC, -1 }, { VERDICT_STOP_ENGINE, T, -1 } },
                  VERDICT_STOP_ENGINE,
                  T,
                  -1 },
                { { { VERDICT_STOP_ENGINE, T, -1 }, { VERDICT_STOP_ENGINE, T + SEC, -1 } },
                  VERDICT_STOP_ENGINE,
                  T,
                  -1 },
                { { { VERDICT_STOP_REMOVE, T, -1 } }, VERDICT_STOP_REMOVE, T, 0 },
                { { { VERDICT_STOP_NONE, T, 5 }, { VERDICT_STOP_UNSEEN, T, 5 } }, VERDICT_STOP_NONE, 0, -1 },
                /* A grace period without an end. */
                { { { VERDICT_STOP_CONTAINER, T, INT64_MAX }, { VERDICT_STOP_CONTAINER, T + SEC, 1000 } },
                  VERDICT_STOP_CONTAINER,
                  T + SEC,
                  1000 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(added); i++) {
                VerdictFacts facts = { NONE, CODE(0), UNASKED, AT(100) };

                for (size_t k = 0; k < ARRAY_SIZE(added[i].add) && added[i].add[k].asked_ns > 0; k++)
                        verdict_add_stop(&facts, added[i].add[k].stop, added[i].add[k].asked_ns,
                                         added[i].add[k].grace_ms);
                if (facts.stop != added[i].stop || facts.stop_asked_ns != added[i].asked_ns ||
                    facts.stop_grace_ms != added[i].grace_ms)
                        fail_msg("case %zu: %s", i, verdict_stop_word(facts.stop));
        }
}

static void runtimes(void **state) {
        static const char *const yes[] = { "runc",   "crun", "runc:[2:INIT]", "containerd-shim-runc-v2",
                                           "conmon", "crio", "podman",        "podspan-conmon" };
        static const char *const no[] = { "runcx", "xrunc", "bash", "", "kubelet", "systemd", "containerdx" };

        (void) state;

        assert_false(verdict_is_runtime(NULL));
        for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
                assert_true(verdict_is_runtime(yes[i]));
        for (size_t i = 0; i < ARRAY_SIZE(no); i++)
                assert_false(verdict_is_runtime(no[i]));
}

static void words(void **state) {
        char name[VERDICT_SIGNAL_MAX];
        Verdict verdict;

        (void) state;

        for (int i = 0; i < _VERDICT_MAX; i++) {
                assert_int_equal(verdict_parse(verdict_word((Verdict) i), &verdict), 0);
                assert_int_equal(verdict, i);
        }
        assert_int_equal(verdict_parse("", &verdict), -EINVAL);
        assert_int_equal(verdict_stop_method("StopContainer"), VERDICT_STOP_CONTAINER);
        assert_int_equal(verdict_stop_method("runtime.v1.RuntimeService/RemovePodSandbox"),
                         VERDICT_STOP_REMOVE_SANDBOX);
        assert_int_equal(verdict_stop_method("kill"), VERDICT_STOP_UNSEEN);
        assert_int_equal(verdict_stop_method(""), VERDICT_STOP_UNSEEN);
        assert_int_equal(verdict_parse("Killed", &verdict), -EINVAL);
        assert_string_equal(verdict_word(_VERDICT_MAX), "");
        assert_string_equal(verdict_word((Verdict) -1), "");
        for (uint32_t bit = 1; bit < _VERDICT_MISSING_END; bit <<= 1) {
                assert_true(*verdict_missing_word((VerdictMissing) bit));
                assert_true(*verdict_missing_text((VerdictMissing) bit));
        }
        assert_string_equal(verdict_missing_word((VerdictMissing) 0), "");
        assert_string_equal(verdict_missing_text(_VERDICT_MISSING_END), "");

        assert_string_equal(verdict_signal_name(SIGKILL, name), "SIGKILL");
        assert_string_equal(verdict_signal_name(0, name), "SIGUNKNOWN");
        assert_string_equal(verdict_signal_name(SIGRTMIN + 3, name), "SIGRTMIN+3");
        assert_int_equal(verdict_signal_parse("SIGTERM"), SIGTERM);
        assert_int_equal(verdict_signal_parse("SIGRTMIN+3"), SIGRTMIN + 3);
        assert_int_equal(verdict_signal_parse("SIGUNKNOWN"), 0);
        assert_int_equal(verdict_signal_parse(""), 0);
        assert_int_equal(verdict_signal_parse(NULL), 0);
}

/* Writes the facts of @facts with @decision, and hands the span as it is read. The caller frees @ret_message. */
static Podspan__Otlp__Span *through(const VerdictFacts *facts, const VerdictDecision *decision,
                                    Podspan__Otlp__TracesData **ret_message) {
        TraceContext context = { .trace_id = { 1 }, .span_id = { 2 } };
        _cleanup_(span_freep) Span *span = NULL;
        _cleanup_free_ uint8_t *bytes = NULL;
        char name[VERDICT_SIGNAL_MAX];
        size_t size;

        assert_int_equal(span_new("wait_for_exit_code", SPAN_KIND_INTERNAL, &context, NULL, &span), 0);
        span_set_time(span, 1, facts->ended_ns);
        if (facts->exit_code >= 0)
                span_attr_int(span, "process.exit.code", facts->exit_code);
        if (facts->signal > 0)
                span_attr_str(span, "podspan.process.signal", verdict_signal_name(facts->signal, name));
        span_attr_bool(span, "podspan.oom_killed", facts->oom_ended);
        if (facts->start_failure)
                span_set_status(span, SPAN_STATUS_ERROR, facts->start_failure);
        verdict_set(span, facts, decision);
        assert_int_equal(span_encode("test", &span, 1, &bytes, &size), 0);
        *ret_message = podspan__otlp__traces_data__unpack(NULL, size, bytes);
        assert_non_null(*ret_message);
        return (*ret_message)->resource_spans[0]->scope_spans[0]->spans[0];
}

static void assert_text(const char *a, const char *b) {
        if ((a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0))
                fail_msg("%s is not %s", a ?: "nothing", b ?: "nothing");
}

static void round_trip(void **state) {
        static const VerdictFacts all = {
                SIGNAL(SIGKILL),
                AT(31),
                STOP(30000),
                HOST("bash"),
                .kill_container = "abc",
                .kill_uid = 0,
                .ignored = SIGTERM,
                .oom_scope = VERDICT_SCOPE_GROUP,
                .oom_limit_bytes = 4096,
                .oom_program = "eater",
                .oom_pid = 9,
                .oom_rss_bytes = 1,
                .stop_reason = "deleted",
                .memory_low = 0,
                .memory_high = 1,
                .memory_max = 2,
                .memory_oom = 3,
                .memory_oom_kill = 4,
                .memory_oom_group_kill = 5,
                .throttled_ns = 6,
                .throttled_periods = 7,
                .periods = 8,
        };

        (void) state;

        for (size_t i = 0; i <= ARRAY_SIZE(cases); i++) {
                VerdictFacts facts = i < ARRAY_SIZE(cases) ? cases[i].facts : all, read;
                Podspan__Otlp__TracesData *message;
                VerdictDecision decision, again;
                Podspan__Otlp__Span *span;
                Verdict emitted;

                /* A reader's facts are in no span; a lost exit is said where nothing else is; an emitter reads the
                 * wait status. */
                facts.kubelet_probe = facts.execsync_failed = facts.next_attempt = facts.sandbox_stopped = false;
                facts.exact = true;
                decision = verdict_decide(&facts);
                facts.lost = decision.verdict == VERDICT_LOST;
                span = through(&facts, &decision, &message);
                verdict_read(span, &read, &emitted);
                read.in_pod = facts.in_pod;
                read.settled = facts.settled;
                assert_int_equal(emitted, decision.verdict);
                again = verdict_decide(&read);
                if (again.verdict != decision.verdict || again.missing != decision.missing ||
                    again.signal != decision.signal)
                        fail_msg("case %zu: %s, read back %s", i, verdict_word(decision.verdict),
                                 verdict_word(again.verdict));

                assert_text(read.kill_program, facts.kill_program);
                assert_text(read.kill_container, facts.kill_container);
                assert_text(read.oom_program, facts.oom_program);
                assert_text(read.stop_reason, facts.stop_reason);
                /* Not compared: pointers, and what is no fact of the span. */
                read.kill_program = facts.kill_program;
                read.kill_container = facts.kill_container;
                read.oom_program = facts.oom_program;
                read.stop_reason = facts.stop_reason;
                read.start_failure = facts.start_failure;
                assert_memory_equal(&read.exit_code, &facts.exit_code, sizeof(facts.exit_code));
                assert_int_equal(read.ended_ns, facts.ended_ns);
                assert_int_equal(read.signal, facts.signal);
                assert_int_equal(read.origin, facts.origin);
                assert_int_equal(read.kill_pid, facts.kill_pid);
                assert_int_equal(read.kill_uid, facts.kill_uid);
                assert_int_equal(read.ignored, facts.ignored);
                assert_int_equal(read.oom_ended, facts.oom_ended);
                assert_int_equal(read.oom_scope, facts.oom_scope);
                assert_int_equal(read.oom_limit_bytes, facts.oom_limit_bytes);
                assert_int_equal(read.oom_pid, facts.oom_pid);
                assert_int_equal(read.oom_rss_bytes, facts.oom_rss_bytes);
                assert_int_equal(read.stop, facts.stop);
                assert_int_equal(read.stop_asked_ns, facts.stop_asked_ns);
                assert_int_equal(read.stop_grace_ms, facts.stop_grace_ms);
                assert_int_equal(read.memory_low, facts.memory_low);
                assert_int_equal(read.memory_high, facts.memory_high);
                assert_int_equal(read.memory_max, facts.memory_max);
                assert_int_equal(read.memory_oom, facts.memory_oom);
                assert_int_equal(read.memory_oom_kill, facts.memory_oom_kill);
                assert_int_equal(read.memory_oom_group_kill, facts.memory_oom_group_kill);
                assert_int_equal(read.throttled_ns, facts.throttled_ns);
                assert_int_equal(read.throttled_periods, facts.throttled_periods);
                assert_int_equal(read.periods, facts.periods);
                podspan__otlp__traces_data__free_unpacked(message, NULL);
        }
}

/* Of another program, or of an older one: what is out of range is not there. */
static void strange(void **state) {
        static const char *const keys[] = { VERDICT_ATTR_VERDICT, VERDICT_ATTR_ORIGIN, VERDICT_ATTR_OOM_SCOPE,
                                            VERDICT_ATTR_STOP_METHOD, VERDICT_ATTR_KILL_IGNORED };
        static const char *const numbers[] = { VERDICT_ATTR_KILL_PID,   VERDICT_ATTR_KILL_UID,   VERDICT_ATTR_OOM_LIMIT,
                                               VERDICT_ATTR_STOP_GRACE, VERDICT_ATTR_STOP_ASKED, "process.exit.code" };
        Podspan__Otlp__Span span = PODSPAN__OTLP__SPAN__INIT;
        Podspan__Otlp__AnyValue value = PODSPAN__OTLP__ANY_VALUE__INIT;
        Podspan__Otlp__KeyValue pair = PODSPAN__OTLP__KEY_VALUE__INIT, *pairs = &pair;
        VerdictFacts facts;
        Verdict emitted;

        (void) state;

        span.attributes = &pairs;
        span.n_attributes = 1;
        pair.value = &value;
        value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        value.string_value = (char *) "nonsense";
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                pair.key = (char *) keys[i];
                verdict_read(&span, &facts, &emitted);
                assert_int_equal(emitted, VERDICT_UNKNOWN);
                assert_int_equal(facts.origin, VERDICT_ORIGIN_NONE);
                assert_int_equal(facts.oom_scope, VERDICT_SCOPE_NONE);
                assert_int_equal(facts.stop, VERDICT_STOP_UNSEEN);
                assert_int_equal(facts.ignored, 0);
                assert_false(facts.exact);
        }
        value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE;
        value.int_value = INT64_MIN;
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                pair.key = (char *) numbers[i];
                verdict_read(&span, &facts, &emitted);
                assert_int_equal(facts.kill_pid, 0);
                assert_int_equal(facts.kill_uid, -1);
                assert_int_equal(facts.oom_limit_bytes, 0);
                assert_int_equal(facts.stop_grace_ms, -1);
                assert_int_equal(facts.stop_asked_ns, 0);
                assert_int_equal(facts.exit_code, -1);
        }
        pair.value = NULL;
        verdict_read(&span, &facts, &emitted);
        assert_int_equal(emitted, VERDICT_UNKNOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(decisions),  cmocka_unit_test(settled),  cmocka_unit_test(disagreement),
                cmocka_unit_test(stops),      cmocka_unit_test(runtimes), cmocka_unit_test(words),
                cmocka_unit_test(round_trip), cmocka_unit_test(strange),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
