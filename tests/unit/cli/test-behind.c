#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "behind.h"
#include "../exact.h"
#include "probesteps.h"
#include "util.h"

#define CMDLINE(s) s, sizeof(s)

static const struct {
        const char *text;
        size_t n; /* with the NUL of the last argument */
        const char *runtime;
} cmdlines[] = {
        { CMDLINE("/usr/sbin/podspan-cri\0--listen\0/a.sock\0--runtime\0/run/x.sock"), "/run/x.sock" },
        { CMDLINE("podspan-cri\0--runtime\0unix:///run/x.sock\0--listen\0/a"), "/run/x.sock" },
        { CMDLINE("podspan-cri\0--runtime=/run/x.sock"), "/run/x.sock" },
        { CMDLINE("podspan-cri\0--runtime=unix:///run/x.sock"), "/run/x.sock" },
        { CMDLINE("podspan-cri\0--upgrade\0--listen\0/a"), "" },
        { CMDLINE("podspan-cri\0--runtime"), "" },
        { CMDLINE("podspan-cri\0--runtime\0x.sock"), "" },
        { CMDLINE("podspan-cri\0--runtime="), "" },
        { CMDLINE("podspan-cri\0--runtimes\0/a"), "" },
        { CMDLINE("podspan-cri"), "" },
        { CMDLINE("/sbin/init\0--runtime\0/a"), "" },
        { CMDLINE("podspan-criminal\0--runtime\0/a"), "" },
        { CMDLINE(""), "" },
        /* Longer than an address. */
        { CMDLINE("podspan-cri\0--runtime\0/"
                  "234567890123456789012345678901234567890123456789012345678901234567890123456789"
                  "012345678901234567890123456789"),
          "" },
};

static void command_lines(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cmdlines); i++)
                for (size_t n = 0; n <= cmdlines[i].n; n++) {
                        char *text = exact(cmdlines[i].text, n), runtime[BEHIND_PATH_MAX];
                        /* A cut one has no last argument: it may be another runtime's path. */
                        bool whole = n == cmdlines[i].n, found = behind_read_cmdline(text, n, runtime);

                        if (whole)
                                assert_string_equal(runtime, cmdlines[i].runtime);
                        else
                                assert_true(!*runtime || strcmp(runtime, cmdlines[i].runtime) == 0);
                        assert_int_equal(found, *runtime != '\0');
                        free(text);
                }
}

static const struct {
        Behind behind;
        const char *said;
} explained[] = {
        { { .interceptor = true, .runtime = "/r", .runtime_dialled = -ECONNREFUSED },
          "podspan-cri listens at /e, but the runtime behind it does not: /r (Connection refused); start the runtime" },
        { { .interceptor = true, .runtime = "/r" }, "" },
        { { .interceptor = true }, "" },
        { { .dialled = -ENOENT }, "the runtime does not listen at /e (No such file or directory)" },
        { { .dialled = -ENOENT, .interceptor = true, .runtime = "/r" },
          "podspan-cri does not listen at /e (No such file or directory)" },
        { {}, "" },
};

static void explanations(void **state) {
        static const char *const endpoints[] = { "/e", "unix:/e", "unix:///e" };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(explained); i++)
                for (size_t j = 0; j < ARRAY_SIZE(endpoints); j++) {
                        char said[256];

                        behind_explain(&explained[i].behind, endpoints[j], said, sizeof(said));
                        assert_string_equal(said, explained[i].said);
                }
}

static const struct {
        const char *message;
        bool expected;
} refusals[] = {
        { "RunPodSandbox: UNKNOWN: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got "
          "\"/k8s.io/7\" instead: unknown",
          true },
        { "cri-o configured with cgroupfs cgroup manager, but received systemd slice as parent: system.slice", true },
        { "cri-o configured with systemd cgroup manager, but did not receive slice as parent: /kubepods", true },
        { "failed to setup network for sandbox: plugin type=\"bridge\" failed", false },
        { "systemd not running on this host, cannot use systemd cgroups manager", false },
        { "cgroup: cannot allocate memory", false },
        { "", false },
};

static void cgroup_errors(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
                assert_int_equal(probesteps_is_cgroup_error(refusals[i].message), refusals[i].expected);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(command_lines),
                cmocka_unit_test(explanations),
                cmocka_unit_test(cgroup_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
