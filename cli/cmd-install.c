#include <stdio.h>
#include <string.h>
#include "cmd-install.h"
#include "config.h"

enum {
        ARG_ROOT = CLI_ARG_OWN,
        ARG_DRY_RUN,
        ARG_YES,
        ARG_DATA_DIR,
        ARG_LIBEXEC_DIR,
        ARG_PROGRAM,
        ARG_CTR,
        ARG_RUNTIME,
        ARG_ALL,
};

#define OPTIONS_HELP                                                   \
        "  --dry-run         show what would change, change nothing\n" \
        "  --yes             do not ask\n"                             \
        "  --root DIR        a node's tree below DIR instead of this node\n"

static const char help_install[] =
        "Usage: podspan install [OPTION]... kubelet|crio|containerd|hooks\n"
        "\n"
        "Puts podspan into a node's configuration: shows the difference, asks, has the runtime check the new file, "
        "keeps\n"
        "a backup in " PLAN_BACKUP_DIR " and changes all files or none. No service is restarted: it says what to run.\n"
        "\n"
        "  kubelet           its CRI endpoints, wherever they stand, to podspan-cri's socket\n"
        "  crio              a file in /etc/crio/crio.conf.d: hooks and CRI-O's own spans\n"
        "  containerd        hooks by a base runtime specification, and containerd's own spans\n"
        "  hooks             JSON files in /etc/containers/oci/hooks.d, for podman and CRI-O\n"
        "\n"
        "Options:\n" OPTIONS_HELP "  --program FILE    crio, containerd: the program to check with (else from PATH)\n"
        "  --ctr FILE        containerd: its ctr (else beside containerd, or from PATH)\n"
        "  --runtime NAME    kubelet: crio or containerd, where the socket's name does not say it\n"
        "  --data-dir DIR    instead of " PODSPAN_PKGDATADIR "\n"
        "  --libexec-dir DIR instead of " PODSPAN_LIBEXECDIR "\n"
        "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 done (or nothing to do), 1 failure: nothing was changed, 2 usage, 3 not confirmed.\n";

static const char help_uninstall[] =
        "Usage: podspan uninstall [OPTION]... kubelet|crio|containerd|hooks\n"
        "       podspan uninstall [OPTION]... --all\n"
        "\n"
        "Takes back what `podspan install` changed: to the byte, or, where somebody else has edited a file since, our\n"
        "change alone. Shows the difference and asks.\n"
        "\n"
        "  --all             all of these, then what podspan leaves besides: sockets, links, state, the store and its "
        "spans,\n"
        "                    links of enabled units. What is still used stays until nothing uses it: run the\n"
        "                    commands that are printed, then --all again\n"
        "\n"
        "Options:\n" OPTIONS_HELP "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 done, 1 failure: nothing was changed, 2 usage, 3 not installed, or not confirmed, or with --all "
        "not\n"
        "all is gone yet.\n";

static int parse_target(InstallRun *run, int argc, char **argv) {
        const char *what = run->undo ? "uninstall" : "install";

        if (run->all) {
                if (run->undo && argc == optind)
                        return 0;
                (void) cli_usage(run->undo ? "--all takes no target" : "--all goes with uninstall only");
                return -EINVAL;
        }
        if (argc - optind != 1) {
                (void) cli_usage("%s takes one of kubelet, crio, containerd, hooks", what);
                return -EINVAL;
        }
        for (run->target = 0; run->target < INSTALLRUN_TARGETS; run->target++)
                if (strcmp(argv[optind], installrun_targets[run->target].name) == 0)
                        return 0;
        (void) cli_usage("%s takes one of kubelet, crio, containerd, hooks, not \"%s\"", what, argv[optind]);
        return -EINVAL;
}

static int parse_argv(InstallRun *run, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS,
                                                 { "root", required_argument, NULL, ARG_ROOT },
                                                 { "dry-run", no_argument, NULL, ARG_DRY_RUN },
                                                 { "yes", no_argument, NULL, ARG_YES },
                                                 { "data-dir", required_argument, NULL, ARG_DATA_DIR },
                                                 { "libexec-dir", required_argument, NULL, ARG_LIBEXEC_DIR },
                                                 { "program", required_argument, NULL, ARG_PROGRAM },
                                                 { "ctr", required_argument, NULL, ARG_CTR },
                                                 { "runtime", required_argument, NULL, ARG_RUNTIME },
                                                 { "all", no_argument, NULL, ARG_ALL },
                                                 {} };
        Install *install = &run->install;
        int c, r;

        while ((c = getopt_long(argc, argv, "hy", options, NULL)) >= 0) {
                r = cli_option(run->cli, c, run->undo ? help_uninstall : help_install);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                switch (c) {
                case ARG_ROOT:
                        install->root = optarg;
                        break;
                case ARG_DRY_RUN:
                        run->dry_run = true;
                        break;
                case ARG_ALL:
                        run->all = true;
                        break;
                case ARG_YES:
                case 'y':
                        run->yes = true;
                        break;
                case ARG_DATA_DIR:
                        install->data_dir = optarg;
                        break;
                case ARG_LIBEXEC_DIR:
                        install->libexec_dir = optarg;
                        break;
                case ARG_PROGRAM:
                        install->program = optarg;
                        break;
                case ARG_CTR:
                        install->ctr = optarg;
                        break;
                case ARG_RUNTIME:
                        if (strcmp(optarg, "crio") != 0 && strcmp(optarg, "containerd") != 0) {
                                (void) cli_usage("--runtime is crio or containerd, not \"%s\"", optarg);
                                return -EINVAL;
                        }
                        install->runtime = optarg;
                        break;
                }
        }
        return parse_target(run, argc, argv);
}

static CliExit print_json(const InstallRun *run, const char *diff, bool done) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        const Plan *plan = &run->install.plan;

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_pair_str(json, "target", installrun_targets[run->target].name);
        json_pair_str(json, "action", run->undo ? "uninstall" : "install");
        json_pair_bool(json, "dry_run", run->dry_run);
        json_pair_bool(json, "changed", done);
        json_key(json, "files");
        json_array(json);
        for (size_t i = 0; i < plan->n_files; i++) {
                const PlanFile *file = &plan->files[i];

                if (file->existed == file->exists && bytes_equal(&file->before, &file->after))
                        continue;
                json_map(json);
                json_pair_str(json, "path", file->path);
                json_pair_str(json, "change", !file->existed ? "create" : file->exists ? "edit" : "remove");
                json_map_end(json);
        }
        json_array_end(json);
        json_pair_str(json, "diff", diff);
        installrun_json_lines(json, "notes", run->notes);
        installrun_json_lines(json, "next", run->next);
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

static int make_diff(const Plan *plan, char **ret) {
        char *text = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&text, &n);
        int r;

        if (!out)
                return -ENOMEM;
        r = plan_print(plan, out);
        if (fclose(out) == EOF)
                r = -ENOMEM;
        *ret = text;
        return r;
}

static CliExit act(InstallRun *run) {
        _cleanup_free_ char *diff = NULL;
        const Cli *cli = run->cli;
        Plan *plan = &run->install.plan;
        bool changes = plan_changes(plan) || run->undo;
        int r;

        (void) fflush(run->install.notes);
        (void) fflush(run->install.next);
        r = make_diff(plan, &diff);
        if (r < 0)
                return installrun_failed(run, r);
        if (!cli->json) {
                installrun_print_lines(cli, diff, true);
                installrun_print_block(cli, "Notes", run->notes);
        }
        if (!changes || run->dry_run) {
                if (cli->json)
                        return print_json(run, diff, false);
                if (!changes)
                        printf("%s: nothing to change\n", plan->target);
                else
                        installrun_print_block(cli, "Afterwards", run->next);
                return cli_finish(NULL, CLI_OK);
        }
        (void) fflush(stdout);

        if (!run->yes && !isatty(STDIN_FILENO))
                return cli_usage("standard input is no terminal to ask on: --yes changes it, --dry-run does not");
        if (installrun_confirm(run) == 0)
                return cli_nothing("not confirmed: nothing was changed");
        r = run->undo ? plan_apply_undo(plan) : plan_apply(plan);
        if (r < 0)
                return installrun_failed(run, r);
        if (cli->json)
                return print_json(run, diff, true);
        installrun_print_block(cli, "Done. Now run", run->next);
        return cli_finish(NULL, CLI_OK);
}

static CliExit run_target(InstallRun *run) {
        Install *install = &run->install;
        int r;

        r = installrun_setup(run);
        if (r < 0)
                return r == -ENOMEM ? cli_failure("out of memory") : CLI_FAILURE;
        if (!run->dry_run) {
                r = installrun_recover(run);
                if (r < 0)
                        return installrun_failed(run, r);
        }

        if (run->undo) {
                r = plan_load_undo(&install->plan, install->notes);
                if (r == -ENOENT)
                        return cli_nothing("%s: podspan is not installed there (no " PLAN_BACKUP_DIR "/%s)",
                                           install->plan.target, install->plan.target);
                if (r >= 0)
                        install_after_undo(install, install->plan.target);
        } else
                r = installrun_targets[run->target].install(install);
        return r < 0 ? installrun_failed(run, r) : act(run);
}

static CliExit cmd(Cli *cli, bool undo, int argc, char **argv) {
        _cleanup_(installrun_deinit) InstallRun run = {
                .cli = cli,
                .undo = undo,
                .install = { .root = "/",
                             .root_fd = -EBADF,
                             .stage_fd = -EBADF,
                             .data_dir = PODSPAN_PKGDATADIR,
                             .libexec_dir = PODSPAN_LIBEXECDIR,
                             .plan = PLAN_NULL },
                .lock_fd = -EBADF,
        };
        int r;

        r = parse_argv(&run, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        return run.all ? cmd_install_all(&run) : run_target(&run);
}

CliExit cmd_install(Cli *cli, int argc, char **argv) {
        return cmd(cli, false, argc, argv);
}

CliExit cmd_uninstall(Cli *cli, int argc, char **argv) {
        return cmd(cli, true, argc, argv);
}
