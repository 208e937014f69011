/* Every verdict and every missing fact has a sentence. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "sentence.h"
#include "util.h"

#define S                       NSEC_PER_SEC
#define T0                      (UINT64_C(1796119200) * S) /* 10:00:00 in UTC */
#define KNOWN(code, grace, uid) .exact = true, .exit_code = (code), .stop_grace_ms = (grace), .kill_uid = (uid)

typedef struct Case {
        VerdictFacts facts;
        VerdictDecision decision;
        const char *full;
        const char *words;
} Case;

#define MIB (INT64_C(1) << 20)

static const Case cases[] = {
        { { KNOWN(0, -1, -1), .ended_ns = T0 + 4 * S + S / 10 },
          { .verdict = VERDICT_COMPLETED },
          "Completed: exit code 0, 4.10 s after start.",
          "completed" },
        { { KNOWN(7, -1, -1), .ended_ns = T0 + 60 * S },
          { .verdict = VERDICT_EXITED },
          "Exited by itself with code 7, 1m 00s after start.",
          "exit code 7" },
        { { KNOWN(137, -1, -1), .ended_ns = T0 + S },
          { .verdict = VERDICT_EXITED },
          "Exited by itself with code 137, 1.00 s after start.",
          "exit code 137" },
        { { KNOWN(-1, -1, -1), .ended_ns = T0 + S },
          { .verdict = VERDICT_EXITED },
          "Exited by itself, 1.00 s after start.",
          "exited" },
        { { KNOWN(143, 30000, -1), .signal = SIGTERM, .stop = VERDICT_STOP_CONTAINER, .stop_asked_ns = T0 + 3 * S,
            .ended_ns = T0 + 3 * S + 4 * S / 10 },
          { .verdict = VERDICT_STOPPED },
          "Asked to stop: StopContainer with 30 s grace at 10:00:03; SIGTERM ended it 400 ms later.",
          "stopped, SIGTERM" },
        { { KNOWN(3, -1, -1), .stop = VERDICT_STOP_SANDBOX, .stop_asked_ns = T0 + 3 * S, .ended_ns = T0 + 5 * S,
            .stop_reason = "pod deleted" },
          { .verdict = VERDICT_STOPPED },
          "Asked to stop (pod deleted): StopPodSandbox at 10:00:03; it ended 2.00 s later with exit code 3.",
          "stopped: pod deleted" },
        { { KNOWN(-1, 0, -1), .signal = SIGKILL, .stop = VERDICT_STOP_CONTAINER, .stop_asked_ns = T0,
            .ended_ns = T0 + S },
          { .verdict = VERDICT_STOPPED },
          "Asked to stop: StopContainer without grace at 10:00:00; SIGKILL ended it 1.00 s later.",
          "stopped, SIGKILL" },
        { { KNOWN(-1, -1, -1), .signal = SIGTERM, .stop = VERDICT_STOP_ENGINE, .stop_asked_ns = T0,
            .kill_program = "crun", .ended_ns = T0 + S },
          { .verdict = VERDICT_STOPPED, .missing = VERDICT_MISSING_CLIENT },
          "Asked to stop: a client of the engine, by `crun` at 10:00:00; SIGTERM ended it 1.00 s later.",
          "stopped, SIGTERM" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .stop = VERDICT_STOP_NONE, .origin = VERDICT_ORIGIN_HOST,
            .kill_program = "runc", .kill_pid = 17, .ended_ns = T0 + S },
          { .verdict = VERDICT_STOPPED, .missing = VERDICT_MISSING_CLIENT },
          "Stopped by `runc` (pid 17) for a client of the engine; SIGKILL ended it.",
          "stopped, SIGKILL" },
        { { KNOWN(-1, 30000, -1), .signal = SIGKILL, .stop = VERDICT_STOP_CONTAINER, .stop_asked_ns = T0 + 3 * S,
            .ended_ns = T0 + 33 * S + S / 10 },
          { .verdict = VERDICT_STOP_TIMEOUT, .signal = SIGKILL },
          "Asked to stop: StopContainer with 30 s grace at 10:00:03; still running at 10:00:33; killed by the runtime.",
          "killed after 30 s grace" },
        { { KNOWN(-1, 1500, -1), .signal = SIGKILL, .stop = VERDICT_STOP_CONTAINER, .stop_asked_ns = T0 + 3 * S,
            .ignored = SIGTERM, .ended_ns = T0 + 5 * S },
          { .verdict = VERDICT_STOP_TIMEOUT, .signal = SIGKILL },
          "Asked to stop: StopContainer with 1.5 s grace at 10:00:03; it ignored SIGTERM; still running at 10:00:04;"
          " killed by the runtime.",
          "killed after 1.5 s grace" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .stop = VERDICT_STOP_ENGINE, .ended_ns = T0 + 5 * S },
          { .verdict = VERDICT_STOP_TIMEOUT, .signal = SIGKILL },
          "Asked to stop: a client of the engine; still running at 10:00:05; killed by the runtime.",
          "killed after the grace period" },
        { { KNOWN(-1, 30000, -1), .signal = SIGKILL, .stop = VERDICT_STOP_CONTAINER, .stop_asked_ns = T0,
            .stop_reason = "liveness probe failed", .ended_ns = T0 + 30 * S },
          { .verdict = VERDICT_PROBE_KILLED, .signal = SIGKILL },
          "Killed by kubelet: liveness probe failed; StopContainer with 30 s grace at 10:00:00; SIGKILL ended it 30.0 s"
          " later.",
          "liveness probe failed" },
        { { KNOWN(1, -1, -1) },
          { .verdict = VERDICT_PROBE_KILLED },
          "Killed by kubelet: a probe failed; it ended by exit code 1.",
          "a probe failed" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .oom_ended = true, .oom_scope = VERDICT_SCOPE_CONTAINER,
            .oom_limit_bytes = 20 * MIB, .oom_program = "eater", .oom_rss_bytes = 20761804,
            .ended_ns = T0 + 4 * S + S / 10 },
          { .verdict = VERDICT_OOM_CONTAINER, .signal = SIGKILL },
          "Killed by the OOM killer: container limit 20 MiB, victim `eater` (19.8 MiB), 4.10 s after start.",
          "OOM, container limit 20 MiB" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .oom_ended = true, .oom_scope = VERDICT_SCOPE_POD, .oom_pid = 9,
            .ended_ns = T0 + S },
          { .verdict = VERDICT_OOM_POD, .signal = SIGKILL },
          "Killed by the OOM killer: pod limit, victim pid 9, 1.00 s after start.",
          "OOM, pod limit" },
        { { KNOWN(-1, -1, -1), .oom_ended = true, .oom_scope = VERDICT_SCOPE_GROUP, .oom_limit_bytes = 150 * MIB,
            .oom_rss_bytes = 8 * MIB },
          { .verdict = VERDICT_OOM_NODE, .signal = SIGKILL },
          "Killed by the OOM killer: limit of a group above the pod 150 MiB, victim of 8 MiB.",
          "OOM, group limit 150 MiB" },
        { { KNOWN(-1, -1, -1), .oom_ended = true, .oom_scope = VERDICT_SCOPE_NODE, .oom_limit_bytes = 150 * MIB },
          { .verdict = VERDICT_OOM_NODE, .signal = SIGKILL },
          "Killed by the OOM killer: the node ran out of memory.",
          "OOM, node" },
        { { KNOWN(-1, -1, -1), .signal = SIGSEGV, .origin = VERDICT_ORIGIN_KERNEL, .ended_ns = T0 + S },
          { .verdict = VERDICT_CRASHED, .signal = SIGABRT },
          "Crashed: SIGABRT (Aborted), 1.00 s after start.",
          "crashed, SIGABRT" },
        { { KNOWN(-1, -1, -1), .ended_ns = T0 + S },
          { .verdict = VERDICT_CRASHED },
          "Crashed, 1.00 s after start.",
          "crashed" },
        { { KNOWN(-1, -1, 0), .signal = SIGKILL, .origin = VERDICT_ORIGIN_HOST, .kill_program = "sh",
            .kill_pid = 4711 },
          { .verdict = VERDICT_KILLED, .signal = SIGKILL },
          "Killed by SIGKILL from `sh` (pid 4711, uid 0, on the host).",
          "SIGKILL from sh (host)" },
        { { KNOWN(-1, -1, -1), .signal = SIGTERM, .origin = VERDICT_ORIGIN_CONTAINER, .kill_program = "kill",
            .kill_container = "0123456789abcdef" },
          { .verdict = VERDICT_KILLED, .signal = SIGTERM },
          "Killed by SIGTERM from `kill` (in container 0123456789ab).",
          "SIGTERM from kill (container)" },
        { { KNOWN(-1, -1, -1), .signal = SIGTERM, .origin = VERDICT_ORIGIN_CONTAINER, .kill_pid = 4 },
          { .verdict = VERDICT_KILLED, .signal = SIGTERM },
          "Killed by SIGTERM from a process (pid 4, in a container).",
          "SIGTERM from a process (container)" },
        { { KNOWN(-1, -1, -1), .signal = SIGTERM, .origin = VERDICT_ORIGIN_SELF, .ended_ns = T0 + S },
          { .verdict = VERDICT_KILLED, .signal = SIGTERM },
          "Killed by SIGTERM that it sent itself, 1.00 s after start.",
          "SIGTERM from itself" },
        { { KNOWN(-1, -1, -1), .signal = SIGALRM, .origin = VERDICT_ORIGIN_KERNEL },
          { .verdict = VERDICT_KILLED, .signal = SIGALRM },
          "Killed by SIGALRM from the kernel.",
          "SIGALRM from the kernel" },
        { { KNOWN(-1, -1, -1), .signal = SIGTERM, .origin = VERDICT_ORIGIN_PARENT },
          { .verdict = VERDICT_KILLED, .signal = SIGTERM },
          "Killed by SIGTERM because its parent ended (parent-death signal).",
          "SIGTERM, its parent ended" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .origin = VERDICT_ORIGIN_NAMESPACE },
          { .verdict = VERDICT_KILLED, .signal = SIGKILL },
          "Killed by SIGKILL because the first process of its pid namespace ended.",
          "SIGKILL, its namespace ended" },
        { { KNOWN(-1, -1, -1),
            .start_failure =
                    "UNKNOWN: failed to create containerd task: failed to create shim task: OCI runtime create"
                    " failed: runc create failed: unable to start container process: exec: \"nope\": not found" },
          { .verdict = VERDICT_START_FAILED },
          "Failed to start: exec: \"nope\": not found",
          "start failed: exec: \"nope\": not found" },
        { { KNOWN(-1, -1, -1), .start_failure = "" },
          { .verdict = VERDICT_START_FAILED },
          "Failed to start: the runtime gave no reason",
          "start failed" },
        { { KNOWN(-1, -1, -1), .lost = true },
          { .verdict = VERDICT_LOST },
          "Lost: the monitor or the shim died before the container; no process saw how it ended.",
          "lost, its end was not seen" },
        { { KNOWN(-1, -1, -1), .lost = true, .signal = SIGKILL },
          { .verdict = VERDICT_LOST },
          "Lost: the monitor or the shim died before the container, which then ended by SIGKILL.",
          "lost, its end was not seen" },
        { { KNOWN(-1, -1, -1), .signal = SIGKILL, .ended_ns = T0 + S },
          { .missing = VERDICT_MISSING_SENDER },
          "Cause not known: it ended by SIGKILL, 1.00 s after start; not known is who sent the signal.",
          "unknown: who sent the signal" },
        { { KNOWN(-1, -1, -1) }, { .missing = 0 }, "Cause not known: it ended.", "unknown" },
};

static void test_sentences(void **state) {
        bool seen[_VERDICT_MAX] = {};

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char full[SENTENCE_MAX], words[SENTENCE_WORDS_MAX];

                sentence_full(&cases[i].facts, &cases[i].decision, T0, full);
                sentence_words(&cases[i].facts, &cases[i].decision, words);
                assert_string_equal(full, cases[i].full);
                assert_string_equal(words, cases[i].words);
                /* Two lines of 80 columns. */
                assert_in_range(strlen(full), 1, 160);
                seen[cases[i].decision.verdict] = true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
                assert_true(seen[i]);
}

/* Each verdict with each missing fact, and each of origin, scope and stop: a sentence that ends, whatever is known. */
static void test_all(void **state) {
        (void) state;

        for (int verdict = 0; verdict < _VERDICT_MAX; verdict++)
                for (int origin = 0; origin < _VERDICT_ORIGIN_MAX; origin++)
                        for (int scope = 0; scope < _VERDICT_SCOPE_MAX; scope++)
                                for (int stop = 0; stop < _VERDICT_STOP_MAX; stop++)
                                        for (uint32_t bit = 1; bit < _VERDICT_MISSING_END; bit <<= 1) {
                                                VerdictFacts facts = VERDICT_FACTS_NONE;
                                                VerdictDecision decision = { .verdict = (Verdict) verdict,
                                                                             .missing = bit };
                                                char full[SENTENCE_MAX], words[SENTENCE_WORDS_MAX];

                                                facts.origin = (VerdictOrigin) origin;
                                                facts.oom_scope = (VerdictScope) scope;
                                                facts.stop = (VerdictStop) stop;
                                                sentence_full(&facts, &decision, 0, full);
                                                sentence_words(&facts, &decision, words);
                                                assert_true(strlen(full) > 5);
                                                assert_true(*words);
                                                if (verdict == VERDICT_UNKNOWN) {
                                                        const char *text = verdict_missing_text((VerdictMissing) bit);

                                                        assert_non_null(strstr(full, text));
                                                        assert_non_null(strstr(words, text));
                                                }
                                        }
}

/* What others chose may be longer than all there is room for. */
static void test_long(void **state) {
        static char endless[4096];
        VerdictFacts facts = VERDICT_FACTS_NONE;

        (void) state;

        memset(endless, 'x', sizeof(endless) - 1);
        facts.kill_program = facts.oom_program = facts.stop_reason = facts.start_failure = facts.kill_container =
                endless;
        facts.origin = VERDICT_ORIGIN_HOST;
        for (int verdict = 0; verdict < _VERDICT_MAX; verdict++) {
                VerdictDecision decision = { .verdict = (Verdict) verdict, .missing = _VERDICT_MISSING_END - 1 };
                char full[SENTENCE_MAX], words[SENTENCE_WORDS_MAX];

                sentence_full(&facts, &decision, 0, full);
                sentence_words(&facts, &decision, words);
                assert_in_range(strlen(full), 1, SENTENCE_MAX - 1);
                assert_in_range(strlen(words), 1, SENTENCE_WORDS_MAX - 1);
        }
}

static void test_reason(void **state) {
        static const struct {
                const char *words, *reason;
        } reasons[] = {
                { "", "" },
                { "plain", "plain" },
                { "UNKNOWN: ", "UNKNOWN: " },
                { "UNKNOWN: container create failed: no space", "no space" },
                { "UNKNOWN: failed to start containerd task \"abc\": hook failed", "hook failed" },
                { "UNKNOWN: failed to start containerd task \"abc", "\"abc" },
                { "FAILED_PRECONDITION: name is reserved", "FAILED_PRECONDITION: name is reserved" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
                assert_string_equal(sentence_reason(reasons[i].words), reasons[i].reason);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sentences),
                cmocka_unit_test(test_all),
                cmocka_unit_test(test_long),
                cmocka_unit_test(test_reason),
        };

        if (setenv("TZ", "UTC", 1) < 0)
                return 1;
        tzset();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
