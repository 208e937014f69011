#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "options.h"
#include "util.h"

#define ARGS_MAX 8

static int parse(const char *const *words, Options *ret, const char **ret_message) {
        static char *argv[ARGS_MAX + 2];
        const char *word;
        int argc = 1;

        argv[0] = (char *) "podspan-hook";
        for (; argc <= ARGS_MAX && words[argc - 1]; argc++)
                argv[argc] = (char *) words[argc - 1];
        argv[argc] = NULL;
        return options_parse(argc, argv, ret, ret_message, &word);
}

static const struct {
        const char *words[ARGS_MAX];
        int r;
        OptionsCommand command;
} lines[] = {
        { { "--stage", "createRuntime" }, 0, OPTIONS_HOOK },
        { { "--stage=poststop", "--config=/c", "--state-dir", "/s" }, 0, OPTIONS_HOOK },
        { { "--help" }, 0, OPTIONS_HELP },
        { { "-h" }, 0, OPTIONS_HELP },
        { { "wrap", "--help" }, 0, OPTIONS_HELP },
        { { "--version" }, 0, OPTIONS_VERSION },
        { { "wrap", "--", "/bin/true", "--stage", "x" }, 0, OPTIONS_WRAP },
        { { "wrap", "/bin/true", "--help" }, 0, OPTIONS_WRAP },
        { { "wrap", "--stage", "poststart", "--name", "n", "--", "true" }, 0, OPTIONS_WRAP },
        { { NULL }, -EINVAL, OPTIONS_HOOK },
        { { "--stage" }, -EINVAL, OPTIONS_HOOK },
        { { "--stage", "start" }, -EINVAL, OPTIONS_HOOK },
        { { "--stage", "poststop", "extra" }, -EINVAL, OPTIONS_HOOK },
        { { "--stage", "poststop", "--", "extra" }, -EINVAL, OPTIONS_HOOK },
        { { "--stage", "poststop", "--name", "n" }, -EINVAL, OPTIONS_HOOK },
        { { "--stages", "poststop" }, -EINVAL, OPTIONS_HOOK },
        { { "wrap" }, -EINVAL, OPTIONS_WRAP },
        { { "wrap", "--" }, -EINVAL, OPTIONS_WRAP },
        { { "wrap", "--", "" }, -EINVAL, OPTIONS_WRAP },
        { { "wrap", "--stage", "start", "--", "true" }, -EINVAL, OPTIONS_WRAP },
        { { "wrap", "--unknown", "--", "true" }, -EINVAL, OPTIONS_WRAP },
};

static void test_lines(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                const char *message = NULL;
                Options options;
                int r = parse(lines[i].words, &options, &message);

                if (r != lines[i].r || options.command != lines[i].command || (r < 0) != (message != NULL))
                        fail_msg("line %zu: %d, command %d, %s", i, r, options.command, message ? message : "-");
        }
}

static void test_values(_unused_ void **userdata) {
        const char *const words[ARGS_MAX] = { "wrap", "--stage=poststart", "--name", "n", "--state-dir=/s", "--", "a",
                                              "--b" };
        const char *message;
        Options options;

        assert_int_equal(parse(words, &options, &message), 0);
        assert_int_equal(options.stage, STAGE_POSTSTART);
        assert_string_equal(options.name, "n");
        assert_string_equal(options.state_dir, "/s");
        assert_null(options.config);
        assert_string_equal(options.argv[0], "a");
        assert_string_equal(options.argv[1], "--b");
        assert_null(options.argv[2]);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines), cmocka_unit_test(test_values) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
