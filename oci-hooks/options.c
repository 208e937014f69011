#include <assert.h>
#include <errno.h>
#include <string.h>
#include "options.h"

const char options_help[] =
        "podspan-hook --stage STAGE [OPTION…]\n"
        "podspan-hook wrap [OPTION…] -- COMMAND [ARGUMENT…]\n"
        "\n"
        "An OCI hook: reads the container's state on standard input and writes spans to podspan's spool.\n"
        "With wrap, runs another hook unchanged and writes a span of how long it took and how it ended.\n"
        "\n"
        "      --stage STAGE     prestart, createRuntime, createContainer, startContainer, poststart or poststop\n"
        "      --name NAME       wrap: name of the span; default: the program's name\n"
        "      --config FILE     configuration instead of all in /etc/podspan\n"
        "      --state-dir DIR   default /run/podspan; rootless $XDG_RUNTIME_DIR/podspan\n"
        "      --help            this text\n"
        "      --version         the version\n"
        "\n"
        "As a hook it exits 0 whatever happens. With wrap it ends as COMMAND ends: 126 if it cannot be executed, 127 "
        "if\n"
        "there is none, 2 on a wrong command line.\n";

/*
 * The value of option @name at argv[*i], as "--name=VALUE" or in the next word. Returns 1 with the value, 0 if it is
 * another option, -EINVAL if the value is missing.
 */
static int option_value(char *const *argv, int argc, int *i, const char *name, const char **ret) {
        const char *word = argv[*i];
        size_t len = strlen(name);

        if (strncmp(word, name, len) != 0)
                return 0;
        if (word[len] == '=') {
                *ret = word + len + 1;
                return 1;
        }
        if (word[len] != '\0')
                return 0;
        if (*i + 1 >= argc)
                return -EINVAL;
        *ret = argv[++*i];
        return 1;
}

int options_parse(int argc, char *const *argv, Options *ret, const char **ret_message, const char **ret_word) {
        const char *stage = NULL;
        int i = 1;

        assert(ret);

        *ret = (Options){ .stage = STAGE_UNKNOWN };
        *ret_word = "";

        if (argc > 1 && strcmp(argv[1], "wrap") == 0) {
                ret->command = OPTIONS_WRAP;
                i++;
        }

        for (; i < argc; i++) {
                const struct {
                        const char *name;
                        const char **value;
                } options[] = {
                        { "--stage", &stage },
                        { "--config", &ret->config },
                        { "--state-dir", &ret->state_dir },
                        { "--name", &ret->name },
                };
                int r = 0;

                *ret_word = argv[i];
                if (strcmp(argv[i], "--") == 0) {
                        i++;
                        break;
                }
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                        ret->command = OPTIONS_HELP;
                        return 0;
                }
                if (strcmp(argv[i], "--version") == 0) {
                        ret->command = OPTIONS_VERSION;
                        return 0;
                }

                for (size_t k = 0; k < ARRAY_SIZE(options) && r == 0; k++)
                        r = option_value(argv, argc, &i, options[k].name, options[k].value);
                if (r < 0) {
                        *ret_message = "a value is missing after";
                        return r;
                }
                if (r == 0) {
                        /* Options of ours end where the command begins. */
                        if (ret->command == OPTIONS_WRAP && argv[i][0] != '-')
                                break;
                        *ret_message = "unknown argument";
                        return -EINVAL;
                }
        }

        if (stage && stage_parse(stage, &ret->stage) < 0) {
                *ret_message = "unknown stage";
                *ret_word = stage;
                return -EINVAL;
        }

        if (ret->command == OPTIONS_WRAP) {
                ret->argv = argv + i;
                if (i < argc && argv[i][0] != '\0')
                        return 0;
                *ret_message = "no command to run";
                *ret_word = "wrap";
                return -EINVAL;
        }

        if (i < argc || ret->name) {
                *ret_message = i < argc ? "unexpected argument" : "only for wrap:";
                *ret_word = i < argc ? argv[i] : "--name";
                return -EINVAL;
        }
        if (!stage) {
                *ret_message = "missing";
                *ret_word = "--stage";
                return -EINVAL;
        }
        return 0;
}
