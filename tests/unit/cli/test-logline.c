/* What a line of kubelet's or a runtime's log says about one container; lines of others' text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "logline.h"
#include "util.h"

#define UID          "11111111-2222-3333-4444-555555555555"
#define CONTAINER    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SANDBOX      "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define KLOG(letter) letter "1201 10:00:03.123456    4711 kuberuntime_manager.go:1111] "
#define POD          "pod=\"default/web\""

static const LoglineSubject subject = { UID, "web", "default", SANDBOX, "main", CONTAINER };

static const struct {
        const char *line;
        Logline expected;
} cases[] = {
        { KLOG("I") "\"Message for Container of pod\" containerName=\"main\" "
                    "containerStatusID={\"Type\":\"containerd\","
                    "\"ID\":\"" CONTAINER "\"} " POD
                    " containerMessage=\"Container main failed liveness probe, will be restarted\"",
          { LOGLINE_INFO, true, true, true, "liveness probe failed" } },
        { KLOG("I") "\"Message for Container of pod\" containerName=\"main\" " POD
                    " containerMessage=\"Init container main failed startup probe\"",
          { LOGLINE_INFO, true, true, true, "startup probe failed" } },
        { KLOG("I") "\"Message for Container of pod\" containerName=\"main\" " POD
                    " containerMessage=\"Container main definition changed, will be restarted\"",
          { LOGLINE_INFO, true, true, false, "container definition changed" } },
        { KLOG("I") "\"Message for Container of pod\" containerName=\"main\" " POD
                    " containerMessage=\"something new\"",
          { LOGLINE_INFO, true, true, false, NULL } },
        /* Another container of the pod; another pod. */
        { KLOG("I") "\"Message for Container of pod\" containerName=\"side\" " POD
                    " containerMessage=\"Container side failed liveness probe\"",
          { LOGLINE_INFO, false, false, false, NULL } },
        { KLOG("I") "\"Message for Container of pod\" containerName=\"main\" pod=\"default/web2\""
                    " containerMessage=\"Container main failed liveness probe\"",
          { LOGLINE_INFO, false, false, false, NULL } },
        { KLOG("I") "\"Killing container with a grace period\" " POD " podUID=\"" UID
                    "\" containerName=\"main\" containerID=\"containerd://" CONTAINER "\" gracePeriod=30",
          { LOGLINE_INFO, true, true, false, NULL } },
        { KLOG("I") "\"Eviction manager: pod is evicted successfully\" " POD,
          { LOGLINE_INFO, true, true, false, "pod evicted" } },
        { KLOG("I") "\"SyncLoop DELETE\" source=\"api\" pods=[\"default/web\"]",
          { LOGLINE_INFO, true, true, false, "pod deleted" } },
        { KLOG("I") "\"SyncLoop REMOVE\" source=\"file\" pods=[\"default/other\",\"default/web\"]",
          { LOGLINE_INFO, true, true, false, "pod removed" } },
        { KLOG("I") "\"Shutdown manager killing pod with gracePeriod\" " POD " gracePeriod=10",
          { LOGLINE_INFO, true, true, false, "node shuts down" } },
        /* A probe's output is the pod's own text. */
        { KLOG("I") "\"Probe failed\" " POD " containerName=\"main\" output=\"\\\"Message for Container of pod\\\""
                    " containerMessage=\\\"failed liveness probe\\\"\"",
          { LOGLINE_INFO, true, true, false, NULL } },
        { KLOG("I") "\"Probe failed\" " POD " output=<", { LOGLINE_INFO, true, false, false, NULL } },
        { "\tMessage for Container of pod " POD, { LOGLINE_NONE, false, false, false, NULL } },
        { KLOG("E") "\"Error syncing pod, skipping\" err=\"failed\" " POD " podUID=\"" UID "\"",
          { LOGLINE_ERROR, true, false, false, NULL } },
        { KLOG("W") "something about " SANDBOX, { LOGLINE_WARNING, true, false, false, NULL } },
        { KLOG("F") "\"cut", { LOGLINE_ERROR, false, false, false, NULL } },
        { "{\"ts\":1764583203.1,\"caller\":\"kubelet/x.go:1\",\"msg\":\"Message for Container of pod\",\"v\":2,"
          "\"containerName\":\"main\",\"pod\":{\"name\":\"web\",\"namespace\":\"default\"},"
          "\"containerMessage\":\"Container main failed liveness probe, will be restarted\"}",
          { LOGLINE_INFO, true, true, true, "liveness probe failed" } },
        { "{\"ts\":1.1,\"msg\":\"Error syncing pod\",\"podUID\":\"" UID "\",\"err\":\"x\"}",
          { LOGLINE_ERROR, true, false, false, NULL } },
        { "{\"level\":\"warn\",\"msg\":\"" CONTAINER "\"}", { LOGLINE_WARNING, true, false, false, NULL } },
        { "{\"level\":3,\"msg\":[]}", { LOGLINE_NONE, false, false, false, NULL } },
        { "{not json", { LOGLINE_NONE, false, false, false, NULL } },
        { "time=\"2026-12-01T10:00:03Z\" level=warning msg=\"container " CONTAINER " is slow\"",
          { LOGLINE_WARNING, true, false, false, NULL } },
        { "time=\"2026-12-01T10:00:03Z\" level=error msg=\"0123456789ab\" id=1",
          { LOGLINE_ERROR, true, false, false, NULL } },
        { "time=\"2026-12-01T10:00:03Z\" msg=\"no level\"", { LOGLINE_NONE, false, false, false, NULL } },
        { "level=panic", { LOGLINE_ERROR, false, false, false, NULL } },
        { "", { LOGLINE_NONE, false, false, false, NULL } },
        { "I", { LOGLINE_NONE, false, false, false, NULL } },
};

static void check(const Logline *line, const Logline *expected) {
        assert_int_equal(line->severity, expected->severity);
        assert_int_equal(line->about, expected->about);
        assert_int_equal(line->decisive, expected->decisive);
        assert_int_equal(line->probe, expected->probe);
        if (expected->reason)
                assert_string_equal(line->reason, expected->reason);
        else
                assert_null(line->reason);
}

static void test_lines(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Logline line;

                logline_read(cases[i].line, strlen(cases[i].line), &subject, &line);
                check(&line, &cases[i].expected);
        }
}

/* Cut at every byte, in a buffer of exactly that size. */
static void test_truncated(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 0; n < strlen(cases[i].line); n++) {
                        char *exact = malloc(n ?: 1);
                        Logline line;

                        memcpy(exact, cases[i].line, n);
                        logline_read(exact, n, &subject, &line);
                        free(exact);
                }
}

/* Of a subject that is not known nothing is said. */
static void test_nobody(void **state) {
        static const LoglineSubject nobody = { "", "", "", "", "", "" };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Logline line;

                logline_read(cases[i].line, strlen(cases[i].line), &nobody, &line);
                assert_false(line.about || line.decisive || line.probe || line.reason);
        }
        assert_string_equal(logline_severity_word(LOGLINE_WARNING), "warning");
        assert_string_equal(logline_severity_word(LOGLINE_NONE), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_nobody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
