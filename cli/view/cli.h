#pragma once

/*
 * Command line
 *
 * What all commands of podspan share: where things are, how to print, exit codes, and the options that are understood
 * before and after the command.
 */

#include <getopt.h>
#include "json.h"
#include "screen.h"
#include "storedb.h"

typedef enum CliExit {
        CLI_OK = 0,
        CLI_FAILURE = 1,
        CLI_USAGE = 2,
        CLI_NOTHING = 3, /* nothing was found that fits */
} CliExit;

typedef struct Cli {
        const char *config_file; /* NULL: the default places */
        const char *state_dir;   /* resolved by cli_resolve() */
        const char *store_dir;
        bool json;
        bool ascii;
        ScreenColour colour;
        Screen screen;
} Cli;

#define CLI_NULL \
        {}

/* Values of getopt_long() above all characters. */
enum {
        CLI_ARG_CONFIG = 0x100,
        CLI_ARG_STATE_DIR,
        CLI_ARG_STORE_DIR,
        CLI_ARG_JSON,
        CLI_ARG_ASCII,
        CLI_ARG_COLOR,
        CLI_ARG_VERSION,
        CLI_ARG_OWN, /* a command's own begin here */
};

#define CLI_OPTIONS                                                                                         \
        { "config", required_argument, NULL, CLI_ARG_CONFIG },                                              \
                { "state-dir", required_argument, NULL, CLI_ARG_STATE_DIR },                                \
                { "store-dir", required_argument, NULL, CLI_ARG_STORE_DIR },                                \
                { "json", no_argument, NULL, CLI_ARG_JSON }, { "ascii", no_argument, NULL, CLI_ARG_ASCII }, \
                { "color", required_argument, NULL, CLI_ARG_COLOR },                                        \
                { "colour", required_argument, NULL, CLI_ARG_COLOR }, { "help", no_argument, NULL, 'h' }, { \
                "version", no_argument, NULL, CLI_ARG_VERSION                                               \
        }

#define CLI_OPTIONS_HELP                                                           \
        "Options of every command:\n"                                              \
        "  --config FILE     read FILE instead of /etc/podspan\n"                  \
        "  --state-dir DIR   instead of /run/podspan (or PODSPAN_STATE_DIR)\n"     \
        "  --store-dir DIR   instead of /var/lib/podspan (or PODSPAN_STORE_DIR)\n" \
        "  --json            one JSON document instead of text\n"                  \
        "  --ascii           no characters beyond ASCII\n"                         \
        "  --color WHEN      auto (the default), always or never\n"                \
        "  -h, --help        this text\n"                                          \
        "  --version         the version\n"

/*
 * Handles @c if it is one of CLI_OPTIONS. Returns 0 if it was, 1 if it is the command's own, -ECANCELED if the program
 * is done (help or version printed: exit code 0), -EINVAL after having told (exit code 2).
 */
int cli_option(Cli *cli, int c, const char *help);

/* Exit code of a parse that cli_option() ended. */
CliExit cli_option_exit(int error);

/* Fills what was not given and looks at the terminal. Call after all options were parsed. */
void cli_resolve(Cli *cli);

/* Says "podspan: …" on standard error, controls escaped. The functions return what they are named after, so that they
 * end a command. */
CliExit cli_failure(const char *format, ...) _printf_(1, 2);
CliExit cli_usage(const char *format, ...) _printf_(1, 2);
CliExit cli_nothing(const char *format, ...) _printf_(1, 2);

/* Opens the store, or tells why not. Returns 0 or a negative errno. */
int cli_open_store(const Cli *cli, StoreDb **ret);

/* Opens the state directory. Returns a descriptor or a negative errno; says nothing. */
int cli_open_state(const Cli *cli);

/* Ends the JSON document, or flushes standard output. Tells of errors. */
CliExit cli_finish(Json *json, CliExit ok);

/* The commands; argv[0] is the command's name. */
CliExit cmd_traces(Cli *cli, int argc, char **argv);
CliExit cmd_trace(Cli *cli, int argc, char **argv);
CliExit cmd_exits(Cli *cli, int argc, char **argv);
CliExit cmd_why(Cli *cli, int argc, char **argv);
CliExit cmd_inflight(Cli *cli, int argc, char **argv);
CliExit cmd_status(Cli *cli, int argc, char **argv);
CliExit cmd_config(Cli *cli, int argc, char **argv);
CliExit cmd_probe(Cli *cli, int argc, char **argv);
CliExit cmd_install(Cli *cli, int argc, char **argv);
CliExit cmd_uninstall(Cli *cli, int argc, char **argv);
CliExit cmd_bypass(Cli *cli, int argc, char **argv);
CliExit cmd_doctor(Cli *cli, int argc, char **argv);

/* The trace @trace_id as `podspan trace` prints it to standard output; with @json as members "traceId", "resourceSpans"
 * of the open map. */
CliExit cmd_trace_print(Cli *cli, StoreDb *db, const uint8_t trace_id[static 16], Json *json);
