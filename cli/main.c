/*
 * podspan: everything a person types
 */

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "filelimit.h"

static const struct {
        const char *name;
        CliExit (*run)(Cli *cli, int argc, char **argv);
} commands[] = {
        { "traces", cmd_traces },     { "trace", cmd_trace },
        { "inflight", cmd_inflight }, { "status", cmd_status },
        { "config", cmd_config },     { "probe", cmd_probe },
        { "install", cmd_install },   { "uninstall", cmd_uninstall },
        { "bypass", cmd_bypass },     { "doctor", cmd_doctor },
        { "why", cmd_why },           { "exits", cmd_exits },
};

static const char help[] = "Usage: podspan [OPTION]... COMMAND [ARGUMENT]...\n"
                           "\n"
                           "What happens on this node while a pod starts, as traces.\n"
                           "\n"
                           "Commands:\n"
                           "  traces            the newest traces, with filters\n"
                           "  trace ID|POD      one trace as a waterfall\n"
                           "  exits             how containers ended, newest first\n"
                           "  why POD|CONTAINER why it ended, did not start, or what it waits for right now\n"
                           "  inflight          what runs or hangs right now\n"
                           "  status            what podspan collects, exports and drops\n"
                           "  config            every effective setting and where it came from\n"
                           "  probe             run a pod through the node's runtime and show its trace\n"
                           "  doctor            what is wrong with tracing on this node, and how to put it right\n"
                           "  install TARGET    put podspan into kubelet's, CRI-O's, containerd's configuration\n"
                           "  uninstall TARGET  take it out again, to the byte\n"
                           "  bypass on|off     take podspan-cri out of kubelet's path, and back\n"
                           "\n"
                           "podspan COMMAND --help says more.\n"
                           "\n" CLI_OPTIONS_HELP "\n"
                           "Exit codes: 0 ok, 1 failure, 2 usage, 3 nothing found.\n";

static int parse_argv(Cli *cli, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, {} };
        int c;

        /* "+": the options behind the command are the command's to parse. */
        while ((c = getopt_long(argc, argv, "+h", options, NULL)) >= 0) {
                int r = cli_option(cli, c, help);

                if (r < 0)
                        return r;
        }
        return 0;
}

int main(int argc, char **argv) {
        Cli cli = CLI_NULL;
        char label[32];
        int r, first;

        filelimit_ignore();
        (void) setlocale(LC_ALL, "");

        r = parse_argv(&cli, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        if (optind >= argc) {
                fputs(help, stderr);
                return CLI_USAGE;
        }

        first = optind;
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (strcmp(argv[first], commands[i].name) == 0) {
                        /* getopt_long() begins its messages with this. */
                        (void) snprintf(label, sizeof(label), "podspan %s", commands[i].name);
                        argv[first] = label;
                        optind = 0;
                        return commands[i].run(&cli, argc - first, argv + first);
                }
        return cli_usage("no command \"%s\"; try --help", argv[first]);
}
