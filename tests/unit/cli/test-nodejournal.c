#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "nodejournal.h"

#define KLOG "I1130 20:00:00.123456    4711 server.go:529] "

static const struct {
        const char *line;
        const char *version; /* NULL: none */
} cases[] = {
        { KLOG "\"Kubelet version\" kubeletVersion=\"v1.34.1\"", "v1.34.1" },
        { KLOG "\"Kubelet version\" kubeletVersion=\"v1.29.0-eks-5e0fdde\"", "v1.29.0-eks-5e0fdde" },
        { KLOG "\"Kubelet version\" kubeletVersion=\"v1.31.1+k3s1\" x=\"y\"", "v1.31.1+k3s1" },
        { "{\"ts\":1700000000000.1,\"caller\":\"app/server.go:487\",\"msg\":\"Kubelet version\",\"v\":0,"
          "\"kubeletVersion\":\"v1.32.0\"}",
          "v1.32.0" },
        /* Somebody's text in a line of kubelet's. */
        { KLOG "\"Pod\" name=\"] \\\"Kubelet version\\\" kubeletVersion=\\\"v9.9.9\\\"\"", NULL },
        { KLOG "\"Pod\" text=[x] \"Kubelet version\" kubeletVersion=\"v9.9.9\"", NULL },
        { "E1130 20:00:00.123456    4711 server.go:529] \"Kubelet version\" kubeletVersion=\"v9.9.9\"", NULL },
        { "\"Kubelet version\" kubeletVersion=\"v9.9.9\"", NULL },
        { "{\"msg\":\"x\",\"kubeletVersion\":\"v9.9.9\"}", NULL },
        { "{\"msg\":{\"msg\":\"Kubelet version\"},\"kubeletVersion\":\"v9.9.9\"}", NULL },
        { "{\"msg\":\"Kubelet version\",\"kubeletVersion\":7}", NULL },
        { KLOG "\"Kubelet version\" kubeletVersion=\"\"", NULL },
        { KLOG "\"Kubelet version\" kubeletVersion=\"v1.34.1", NULL },
        { KLOG "\"Kubelet version\" kubeletVersion=\"v1 34\"", NULL },
        { KLOG "\"Golang settings\" GOGC=\"\"", NULL },
        { "", NULL },
};

static void test_lines(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char version[64] = "untouched";
                bool found = nodejournal_parse_line(cases[i].line, strlen(cases[i].line), version);

                if (found != (cases[i].version != NULL) ||
                    strcmp(version, cases[i].version ? cases[i].version : "untouched") != 0)
                        fail_msg("%s: %d, %s", cases[i].line, found, version);
        }
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 1; n <= strlen(cases[i].line); n++) {
                        _cleanup_free_ char *exact = malloc(n);
                        char version[64];

                        assert_non_null(exact);
                        memcpy(exact, cases[i].line, n);
                        if (nodejournal_parse_line(exact, n, version))
                                assert_string_equal(version, cases[i].version);
                }
}

static void test_too_long(void **state) {
        _cleanup_free_ char *line = calloc(1, 2 * NODEJOURNAL_LINE_MAX);
        char version[64];

        (void) state;
        assert_non_null(line);
        memset(line, 'x', 2 * NODEJOURNAL_LINE_MAX);
        memcpy(line, cases[0].line, strlen(cases[0].line));
        assert_false(nodejournal_parse_line(line, 2 * NODEJOURNAL_LINE_MAX, version));
        assert_true(nodejournal_parse_line(line, NODEJOURNAL_LINE_MAX, version));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_too_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
