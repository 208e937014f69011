#include <string.h>
#include "cli.h"
#include "now.h"

static const char help[] = "Usage: podspan why POD --now\n"
                           "\n"
                           "What the pod waits for right now: one sentence, then the processes from the call to the "
                           "one that the others wait\n"
                           "for, then the evidence. POD is a name, NAMESPACE/NAME or a UID.\n"
                           "\n"
                           "  --now             what hangs now\n"
                           "\n" CLI_OPTIONS_HELP;

enum { ARG_NOW = CLI_ARG_OWN };

CliExit cmd_why(Cli *cli, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, { "now", no_argument, NULL, ARG_NOW }, {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return cli_option_exit(r);
        }
        if (optind + 1 != argc)
                return cli_usage("why takes one pod");
        cli_resolve(cli);
        return now_print(cli, argv[optind]);
}
