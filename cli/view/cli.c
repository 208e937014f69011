#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "config.h"
#include "text.h"

#define MESSAGE_MAX 4096

_printf_(1, 0) static void say(const char *format, va_list args) {
        char safe[MESSAGE_MAX];
        _cleanup_free_ char *message = NULL;

        if (vasprintf(&message, format, args) < 0) {
                message = NULL;
                return;
        }
        text_safe(safe, sizeof(safe), message, strlen(message), true);
        fprintf(stderr, "podspan: %s\n", safe);
}

#define DEFINE_SAY(name, code)                  \
        CliExit name(const char *format, ...) { \
                va_list args;                   \
                va_start(args, format);         \
                say(format, args);              \
                va_end(args);                   \
                return code;                    \
        }

DEFINE_SAY(cli_failure, CLI_FAILURE)
DEFINE_SAY(cli_usage, CLI_USAGE)
DEFINE_SAY(cli_nothing, CLI_NOTHING)

int cli_option(Cli *cli, int c, const char *help) {
        switch (c) {
        case CLI_ARG_CONFIG:
                cli->config_file = optarg;
                return 0;
        case CLI_ARG_STATE_DIR:
                cli->state_dir = optarg;
                return 0;
        case CLI_ARG_STORE_DIR:
                cli->store_dir = optarg;
                return 0;
        case CLI_ARG_JSON:
                cli->json = true;
                return 0;
        case CLI_ARG_ASCII:
                cli->ascii = true;
                return 0;
        case CLI_ARG_COLOR:
                if (strcmp(optarg, "auto") == 0)
                        cli->colour = SCREEN_COLOUR_AUTO;
                else if (strcmp(optarg, "always") == 0)
                        cli->colour = SCREEN_COLOUR_ALWAYS;
                else if (strcmp(optarg, "never") == 0)
                        cli->colour = SCREEN_COLOUR_NEVER;
                else {
                        (void) cli_usage("--color is auto, always or never, not \"%s\"", optarg);
                        return -EINVAL;
                }
                return 0;
        case CLI_ARG_VERSION:
                puts("podspan " PODSPAN_VERSION);
                return -ECANCELED;
        case 'h':
                fputs(help, stdout);
                return -ECANCELED;
        case '?':
                fputs("Try --help.\n", stderr);
                return -EINVAL;
        default:
                return 1;
        }
}

CliExit cli_option_exit(int error) {
        return error == -ECANCELED ? cli_finish(NULL, CLI_OK) : CLI_USAGE;
}

void cli_resolve(Cli *cli) {
        cli->state_dir = config_state_dir(cli->state_dir);
        cli->store_dir = config_store_dir(cli->store_dir);
        screen_init(&cli->screen, cli->colour, cli->ascii);
}

int cli_open_store(const Cli *cli, StoreDb **ret) {
        _cleanup_free_ char *message = NULL;
        int r = storedb_open(cli->store_dir, ret, &message);

        if (r < 0)
                (void) cli_failure("%s", message ? message : strerror(-r));
        return r;
}

int cli_open_state(const Cli *cli) {
        int fd = open(cli->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int flush_stdout(void) {
        if (fflush(stdout) == EOF)
                return -errno;
        if (!ferror(stdout))
                return 0;
        /* A write before this failed, and its reason is gone: the next one fails for the same. */
        return write(STDOUT_FILENO, "\n", 1) < 0 ? -errno : -EIO;
}

CliExit cli_finish(Json *json, CliExit ok) {
        int r;

        if (json)
                r = json_finish(json);
        else
                r = flush_stdout();
        /* Who closed the pipe (`podspan traces | head`) knows. */
        if (r < 0 && r != -EPIPE)
                return cli_failure("standard output: %s", strerror(-r));
        return r < 0 ? CLI_FAILURE : ok;
}
