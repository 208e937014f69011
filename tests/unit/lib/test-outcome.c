#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "outcome.h"
#include "util.h"

#define RUN   "runtime.v1.RuntimeService/RunPodSandbox"
#define EXEC  "runtime.v1.RuntimeService/ExecSync"
#define STOP  "runtime.v1.RuntimeService/StopContainer"
#define STATE "runtime.v1.RuntimeService/ContainerStatus"
#define PULL  "runtime.v1.ImageService/PullImage"
#define ID    .container_id = "c1"

static void rule_of_calls(void **state) {
        static const struct {
                const char *method;
                int code;
                bool by_caller;
                bool failed;
        } cases[] = {
                { RUN, 0, false, false },
                { RUN, 2, false, true },
                { RUN, 3, false, true },
                { RUN, 4, true, true }, /* a deadline is no whim */
                { RUN, 6, false, true },
                { RUN, 9, false, true }, /* "failed to reserve sandbox name" */
                { RUN, 14, false, true },
                { RUN, 16, false, true },
                { RUN, 12, false, false },
                { RUN, -1, false, false },
                { RUN, 1, true, false },
                { RUN, 1, false, true },
                { RUN, 5, false, true },
                { PULL, 5, false, true },
                { STOP, 5, false, false },
                { STOP, 9, false, true },
                { "StopPodSandbox", 5, false, false },
                { "RemoveContainer", 5, false, false },
                { "RemovePodSandbox", 5, false, false },
                { "runtime.v1.ImageService/RemoveImage", 5, false, false },
                { "StartContainer", 5, false, true },
                { "UnStopContainer", 5, false, true },
                { STATE, 5, false, false },
                { STATE, 4, false, true },
                { "ExecSync", 5, false, true },
                { "ReopenContainerLog", 5, false, true },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                if (outcome_call_failed(cases[i].method, cases[i].code, cases[i].by_caller) != cases[i].failed)
                        fail_msg("%s %d", cases[i].method, cases[i].code);
}

static const struct {
        OutcomeFacts facts;
        Outcome outcome;
        OutcomeStop stop;
        const char *why;
} spans[] = {
        { { .name = RUN, .code = "OK" }, OUTCOME_OK, 0, "" },
        /* OpenTelemetry's status of it is not Error. */
        { { .name = RUN, .code = "FAILED_PRECONDITION", .message = "failed to reserve sandbox name \"a_b_0\"" },
          OUTCOME_FAILED,
          0,
          "FAILED_PRECONDITION: failed to reserve sandbox name \"a_b_0\"" },
        { { .name = RUN, .code = "NEW_CODE" }, OUTCOME_FAILED, 0, "NEW_CODE" },
        /* That of UNIMPLEMENTED is. */
        { { .name = RUN, .code = "UNIMPLEMENTED", .status = 2 }, OUTCOME_OK, 0, "" },
        { { .name = RUN, .code = "CANCELLED", .end = "reset_by_client" }, OUTCOME_OK, 0, "" },
        { { .name = RUN, .code = "CANCELLED", .end = "connection_by_client" }, OUTCOME_OK, 0, "" },
        { { .name = RUN, .code = "CANCELLED", .end = "trailers" }, OUTCOME_FAILED, 0, "CANCELLED" },
        { { .name = RUN, .code = "CANCELLED" }, OUTCOME_OK, 0, "" },
        { { .name = RUN, .end = "untracked" }, OUTCOME_UNKNOWN, 0, "how it ended is not known" },
        { { .name = RUN, .status = 2 }, OUTCOME_FAILED, 0, "the span does not say why" },
        { { .name = STOP, .code = "NOT_FOUND", ID }, OUTCOME_OK, OUTCOME_STOP_CALL, "" },
        { { .name = STOP, .code = "DEADLINE_EXCEEDED", ID }, OUTCOME_FAILED, OUTCOME_STOP_CALL, "DEADLINE_EXCEEDED" },
        { { .name = "runtime.v1.RuntimeService/StopPodSandbox", .code = "OK" }, OUTCOME_OK, OUTCOME_STOP_CALL, "" },
        { { .name = "runtime.v1.RuntimeService/RemovePodSandbox", .code = "OK" }, OUTCOME_OK, OUTCOME_STOP_CALL, "" },
        { { .name = "runtime.v1.RuntimeService/RemoveContainer", .code = "OK" }, OUTCOME_OK, OUTCOME_STOP_CALL, "" },
        { { .name = "runtime.v1.ImageService/RemoveImage", .code = "OK" }, OUTCOME_OK, 0, "" },
        { { .name = EXEC, .code = "OK", .has_exit_code = true, ID }, OUTCOME_OK, 0, "" },
        { { .name = EXEC, .code = "OK", .has_exit_code = true, .exit_code = 3, ID }, OUTCOME_EXITED, 0, "exit code 3" },
        /* CRI-O after a timeout. */
        { { .name = EXEC, .code = "OK", .exit_code = -1, ID }, OUTCOME_EXITED, 0, "exit code -1" },
        { { .name = EXEC, .code = "DEADLINE_EXCEEDED", .exit_code = 3, ID }, OUTCOME_FAILED, 0, "DEADLINE_EXCEEDED" },
        { { .name = EXEC, .code = "NOT_FOUND", .exit_code = 3, ID }, OUTCOME_FAILED, 0, "NOT_FOUND" },
        /* Not a CRI call: its owner's convention counts. */
        { { .name = "containerd.services.snapshots.v1.Snapshots/Stat", .code = "NOT_FOUND" }, OUTCOME_OK, 0, "" },
        { { .name = "x", .status = 2, .message = "boom" }, OUTCOME_FAILED, 0, "boom" },
        { { .name = "x", .status = 2, .error_type = "ENOENT" }, OUTCOME_FAILED, 0, "ENOENT" },
        { { .name = "x", .status = 2 }, OUTCOME_FAILED, 0, "the span does not say why" },
        { { .name = "x", .status = 1 }, OUTCOME_OK, 0, "" },
        { { .name = "runc create", .status = 2, .has_exit_code = true, .exit_code = 1, ID, .message = "no such file" },
          OUTCOME_FAILED,
          0,
          "exit code 1: no such file" },
        { { .name = "runc create", .status = 2, .has_exit_code = true, .exit_code = 137, .signal = "SIGKILL", ID },
          OUTCOME_FAILED,
          0,
          "SIGKILL" },
        { { .name = "runc kill", .status = 2, .has_exit_code = true, .exit_code = 1, ID },
          OUTCOME_OK,
          OUTCOME_STOP_KILL,
          "" },
        { { .name = "runc kill" }, OUTCOME_OK, 0, "" },
        /* Ends of containers. */
        /* podspan-watch's, beside a monitor's report of the same end */
        { { .name = "death", .has_exit_code = true, .exit_code = 137, .signal = "SIGKILL", .status = 2, ID },
          OUTCOME_KILLED,
          0,
          "SIGKILL" },
        { { .name = "wait_for_exit_code", .has_exit_code = true, ID }, OUTCOME_OK, 0, "" },
        { { .name = "wait_for_exit_code", .has_exit_code = true, .exit_code = 3, .status = 2, ID },
          OUTCOME_EXITED,
          0,
          "exit code 3" },
        { { .name = "wait_for_exit_code",
            .has_exit_code = true,
            .exit_code = 143,
            .signal = "SIGTERM",
            .status = 2,
            ID },
          OUTCOME_KILLED,
          0,
          "SIGTERM" },
        { { .name = "wait_for_exit_code", .has_exit_code = true, .exit_code = 143, .status = 2, ID },
          OUTCOME_KILLED,
          0,
          "exit code 143" },
        { { .name = "wait_for_exit_code",
            .has_exit_code = true,
            .exit_code = 137,
            .signal = "SIGKILL",
            .oom_killed = true,
            .status = 2,
            ID },
          OUTCOME_FAILED,
          0,
          "OOM killed (SIGKILL)" },
        { { .name = "wait_for_exit_code", .has_exit_code = true, .exit_code = 255, .status = 2, ID },
          OUTCOME_EXITED,
          0,
          "exit code 255" },
        { { .name = "wait_for_exit_code", ID }, OUTCOME_UNKNOWN, 0, "how it ended is not known" },
        { { .name = "wait_for_exit_code", .status = 2, .error_type = "timeout", .message = "Timed out", ID },
          OUTCOME_FAILED,
          0,
          "Timed out" },
        { { .name = "container", ID }, OUTCOME_OK, 0, "" },
        { { .name = "crun exec", .has_exit_code = true, .exit_code = 137, .signal = "SIGKILL", .status = 2, ID },
          OUTCOME_KILLED,
          0,
          "SIGKILL" },
        { { .name = "runc exec", .has_exit_code = true, .exit_code = 1, .status = 2, ID },
          OUTCOME_EXITED,
          0,
          "exit code 1" },
};

static void rule_of_spans(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
                char why[OUTCOME_WHY_MAX + 1];
                const char *id;
                Outcome outcome = outcome_judge(&spans[i].facts);

                if (outcome != spans[i].outcome)
                        fail_msg("%zu (%s): outcome %d, expected %d", i, spans[i].facts.name, outcome,
                                 spans[i].outcome);
                if (outcome_stop(&spans[i].facts, &id) != spans[i].stop)
                        fail_msg("%zu (%s): stop", i, spans[i].facts.name);
                assert_int_equal(outcome_why(&spans[i].facts, outcome, why), strlen(spans[i].why));
                assert_string_equal(why, spans[i].why);
        }
}

/* A call that stops one container says nothing about the others of its sandbox. */
static void stopped_ids(void **state) {
        static const struct {
                const char *name;
                const char *id;
        } cases[] = {
                { STOP, "c" },
                { "runtime.v1.RuntimeService/RemoveContainer", "c" },
                { "runtime.v1.RuntimeService/StopPodSandbox", "s" },
                { "runtime.v1.RuntimeService/RemovePodSandbox", "s" },
                { "crun kill", "c" },
                { RUN, NULL },
                { "wait_for_exit_code", NULL },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                OutcomeFacts facts = { .name = cases[i].name, .container_id = "c", .sandbox_id = "s" };
                const char *id;

                assert_int_equal(outcome_stop(&facts, &id) != OUTCOME_STOP_NONE, cases[i].id != NULL);
                assert_true(id == NULL ? cases[i].id == NULL : strcmp(id, cases[i].id) == 0);
        }
}

static void excuses(void **state) {
        (void) state;

        for (Outcome outcome = OUTCOME_OK; outcome <= OUTCOME_UNKNOWN; outcome++)
                for (OutcomeStop stop = OUTCOME_STOP_NONE; stop <= OUTCOME_STOP_CALL; stop++)
                        assert_int_equal(outcome_excused(outcome, stop),
                                         (outcome == OUTCOME_EXITED && stop == OUTCOME_STOP_CALL) ||
                                                 (outcome == OUTCOME_KILLED && stop != OUTCOME_STOP_NONE));
}

static void words(void **state) {
        static const struct {
                const char *in;
                const char *out;
        } cases[] = {
                { "", "" },
                { "plain words", "plain words" },
                { "two\nlines \t and\r\nmore\n", "two lines and more" },
                { "time=\"2026-11-21T10:00:00Z\" level=error msg=\"runc create failed: unable to start: exec: "
                  "\\\"nosuch\\\": "
                  "not found\"\n",
                  "runc create failed: unable to start: exec: \"nosuch\": not found" },
                { "level=error msg=short", "short" },
                { "level=error msg=short at=12", "short" },
                { "container create failed: time=\"x\" level=error msg=\"a \\n b\"", "container create failed: a b" },
                { "level=warning msg=\"lxc\"\nlevel=error msg=\"real\"\nlevel=info msg=\"bye\"\n", "real" },
                { "level=warning msg=\"only\"", "only" },
                { "level=error msg=\"never ends", "never ends" },
                { "level=error msg=\"ends with \\", "ends with \\" },
                { "level=error msg=", "" },
                { "msg=\"no level\"", "msg=\"no level\"" },
                { "level=error xmsg=1", "level=error xmsg=1" },
                { "level=error msg=\"esc \\x1b\"", "esc \\x1b" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char out[OUTCOME_WHY_MAX + 1];

                assert_int_equal(outcome_words(cases[i].in, out), strlen(cases[i].out));
                assert_string_equal(out, cases[i].out);
        }
}

/* Cut at a character, and cut anywhere a record holds. */
static void bounds(void **state) {
        static const char record[] = "x: time=\"t\" level=error msg=\"a \\\"b\\\" c\" k=v\nlevel=panic msg=z";
        char text[1024], out[OUTCOME_WHY_MAX + 1];

        (void) state;

        for (size_t shift = 0; shift < 4; shift++) {
                size_t n;

                memset(text, 'a', shift);
                for (size_t i = 0; i < 120; i++)
                        memcpy(text + shift + 3 * i, "\xe2\x82\xac", 4);
                n = outcome_words(text, out);
                assert_true(n <= OUTCOME_WHY_MAX && n > OUTCOME_WHY_MAX - 3);
                assert_true(util_utf8_valid(out, n));
        }
        for (size_t len = 0; len < sizeof(record); len++) {
                _cleanup_free_ char *exact = strndup(record, len);

                assert_non_null(exact);
                assert_true(outcome_words(exact, out) <= len);
        }
}

static Podspan__Otlp__KeyValue *pair(const char *key, const char *s, int64_t n, int which) {
        static Podspan__Otlp__KeyValue pairs[16];
        static Podspan__Otlp__AnyValue values[16];
        static unsigned used;
        unsigned at = used++ % 16;

        podspan__otlp__any_value__init(values + at);
        values[at].value_case = which;
        if (which == PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
                values[at].string_value = (char *) s;
        else if (which == PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE)
                values[at].bool_value = n != 0;
        else
                values[at].int_value = n;
        podspan__otlp__key_value__init(pairs + at);
        pairs[at].key = (char *) key;
        pairs[at].value = which ? values + at : NULL;
        return pairs + at;
}

#define S(key, value) pair(key, value, 0, PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
#define I(key, value) pair(key, NULL, value, PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE)
#define B(key, value) pair(key, NULL, value, PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE)

static void read_facts(void **state) {
        Podspan__Otlp__Span span = PODSPAN__OTLP__SPAN__INIT;
        Podspan__Otlp__Status status = PODSPAN__OTLP__STATUS__INIT;
        Podspan__Otlp__KeyValue *attributes[] = {
                I("rpc.grpc.status_code", 9),
                S("podspan.rpc.message", "words"),
                S("container.id", "c"),
                S("podspan.sandbox.id", "s"),
                I("process.exit.code", 7),
                B("podspan.oom_killed", 1),
                S("podspan.process.signal", "SIGKILL"),
                S("error.type", ""),
                I("container.id", 3),
                pair("container.id", NULL, 0, 0),
        };
        OutcomeFacts facts;

        (void) state;

        span.name = (char *) "n";
        span.attributes = attributes;
        span.n_attributes = ARRAY_SIZE(attributes);
        outcome_read(&span, &facts);
        assert_string_equal(facts.code, "FAILED_PRECONDITION");
        assert_string_equal(facts.message, "words");
        assert_string_equal(facts.container_id, "c");
        assert_string_equal(facts.sandbox_id, "s");
        assert_string_equal(facts.signal, "SIGKILL");
        assert_null(facts.error_type);
        assert_true(facts.has_exit_code && facts.exit_code == 7 && facts.oom_killed && facts.status == 0);

        status.code = 2;
        status.message = (char *) "status";
        span.status = &status;
        attributes[0] = I("rpc.grpc.status_code", INT64_MAX);
        attributes[4] = I("process.exit.code", -1);
        outcome_read(&span, &facts);
        assert_string_equal(facts.message, "status");
        assert_string_equal(facts.code, "UNKNOWN");
        assert_int_equal(facts.status, 2);
        assert_false(facts.has_exit_code); /* an unknown end is no exit code */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rule_of_calls), cmocka_unit_test(rule_of_spans), cmocka_unit_test(excuses),
                cmocka_unit_test(stopped_ids),   cmocka_unit_test(words),         cmocka_unit_test(bounds),
                cmocka_unit_test(read_facts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
