#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "cli.h"
#include "config.h"
#include "install.h"
#include "text.h"

enum {
        ARG_ROOT = CLI_ARG_OWN,
        ARG_DRY_RUN,
        ARG_YES,
        ARG_DATA_DIR,
        ARG_LIBEXEC_DIR,
        ARG_PROGRAM,
        ARG_CTR,
        ARG_RUNTIME,
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
        "\n"
        "Takes back what `podspan install` changed: to the byte, or, where somebody else has edited a file since, our\n"
        "change alone. Shows the difference and asks.\n"
        "\n"
        "Options:\n" OPTIONS_HELP "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 done, 1 failure: nothing was changed, 2 usage, 3 not installed, or not confirmed.\n";

static const struct {
        const char *name;
        int (*install)(Install *install);
} targets[] = {
        { "kubelet", install_kubelet },
        { "crio", install_crio },
        { "containerd", install_containerd },
        { "hooks", install_hooks },
};

typedef struct Run {
        Cli *cli;
        bool undo;
        bool dry_run;
        bool yes;
        size_t target;
        Install install;
        char *notes;
        size_t notes_n;
        char *next;
        size_t next_n;
        int lock_fd;
} Run;

static void run_deinit(Run *run) {
        Install *install = &run->install;

        if (install->notes)
                (void) fclose(install->notes);
        if (install->next)
                (void) fclose(install->next);
        free(run->notes);
        free(run->next);
        free(install->error);
        plan_deinit(&install->plan);
        close_fd(install->root_fd);
        close_fd(run->lock_fd);
}

static int parse_target(Run *run, int argc, char **argv) {
        const char *what = run->undo ? "uninstall" : "install";

        if (argc - optind != 1) {
                (void) cli_usage("%s takes one of kubelet, crio, containerd, hooks", what);
                return -EINVAL;
        }
        for (run->target = 0; run->target < ARRAY_SIZE(targets); run->target++)
                if (strcmp(argv[optind], targets[run->target].name) == 0)
                        return 0;
        (void) cli_usage("%s takes one of kubelet, crio, containerd, hooks, not \"%s\"", what, argv[optind]);
        return -EINVAL;
}

static int parse_argv(Run *run, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS,
                                                 { "root", required_argument, NULL, ARG_ROOT },
                                                 { "dry-run", no_argument, NULL, ARG_DRY_RUN },
                                                 { "yes", no_argument, NULL, ARG_YES },
                                                 { "data-dir", required_argument, NULL, ARG_DATA_DIR },
                                                 { "libexec-dir", required_argument, NULL, ARG_LIBEXEC_DIR },
                                                 { "program", required_argument, NULL, ARG_PROGRAM },
                                                 { "ctr", required_argument, NULL, ARG_CTR },
                                                 { "runtime", required_argument, NULL, ARG_RUNTIME },
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

/* Two of us at once would plan on the same files. The root directory itself: locking it needs no file. */
static int setup(Run *run) {
        Install *install = &run->install;

        install->root_fd = nodefile_root(install->root);
        if (install->root_fd < 0) {
                (void) cli_failure("%s: %s", install->root, strerror(-install->root_fd));
                return install->root_fd;
        }
        run->lock_fd = nodefile_open(install->root_fd, "/etc", O_RDONLY | O_DIRECTORY);
        if (run->lock_fd >= 0 && flock(run->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                (void) cli_failure("another podspan install is at work");
                return -EBUSY;
        }
        plan_init(&install->plan, install->root_fd, targets[run->target].name);
        install->state_dir = run->cli->state_dir;
        install->notes = open_memstream(&run->notes, &run->notes_n);
        install->next = open_memstream(&run->next, &run->next_n);
        return install->notes && install->next ? 0 : -ENOMEM;
}

static CliExit failed(const Run *run, int error) {
        const Install *install = &run->install;

        return cli_failure("%s%s",
                           install->error        ? install->error
                           : install->plan.error ? install->plan.error
                                                 : strerror(-error),
                           run->undo || run->dry_run || install->plan.stuck ? "" : "; nothing was changed");
}

/* Lines of somebody's file: hostile to a terminal. */
static void print_lines(const Cli *cli, const char *text, bool coloured) {
        while (*text) {
                size_t n = strcspn(text, "\n");
                _cleanup_free_ char *safe = malloc(4 * n + 1);
                ScreenStyle style = SCREEN_PLAIN;

                if (!safe)
                        return;
                if (coloured && (strncmp(text, "--- ", 4) == 0 || strncmp(text, "+++ ", 4) == 0))
                        style = SCREEN_BOLD;
                else if (coloured && *text == '-')
                        style = SCREEN_ERROR;
                else if (coloured && *text == '+')
                        style = SCREEN_GOOD;
                else if (coloured && *text == '@')
                        style = SCREEN_DIM;
                text_safe(safe, 4 * n + 1, text, n, cli->screen.utf8);
                printf("%s%s%s\n", style != SCREEN_PLAIN ? screen_style(&cli->screen, style) : "", safe,
                       style != SCREEN_PLAIN ? screen_style(&cli->screen, SCREEN_PLAIN) : "");
                text += n + (text[n] == '\n');
        }
}

static void print_block(const Cli *cli, const char *label, const char *text) {
        if (!*text)
                return;
        printf("\n%s%s%s\n", screen_style(&cli->screen, SCREEN_BOLD), label, screen_style(&cli->screen, SCREEN_PLAIN));
        print_lines(cli, text, false);
}

static void json_lines(Json *json, const char *key, const char *text) {
        json_key(json, key);
        json_array(json);
        while (*text) {
                size_t n = strcspn(text, "\n");

                json_strn(json, text, n);
                text += n + (text[n] == '\n');
        }
        json_array_end(json);
}

static CliExit print_json(const Run *run, const char *diff, bool done) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        const Plan *plan = &run->install.plan;

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_pair_str(json, "target", targets[run->target].name);
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
        json_lines(json, "notes", run->notes);
        json_lines(json, "next", run->next);
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

/* 1: yes, 0: no. */
static int confirm(const Run *run) {
        char answer[16];

        if (run->yes)
                return 1;
        fprintf(stderr, "%s? [y/N] ", run->undo ? "Take it out" : "Change it");
        if (!fgets(answer, sizeof(answer), stdin))
                return 0;
        return *answer == 'y' || *answer == 'Y';
}

static CliExit act(Run *run) {
        _cleanup_free_ char *diff = NULL;
        const Cli *cli = run->cli;
        Plan *plan = &run->install.plan;
        bool changes = plan_changes(plan) || run->undo;
        int r;

        (void) fflush(run->install.notes);
        (void) fflush(run->install.next);
        r = make_diff(plan, &diff);
        if (r < 0)
                return failed(run, r);
        if (!cli->json) {
                print_lines(cli, diff, true);
                print_block(cli, "Notes", run->notes);
        }
        if (!changes || run->dry_run) {
                if (cli->json)
                        return print_json(run, diff, false);
                if (!changes)
                        printf("%s: nothing to change\n", plan->target);
                else
                        print_block(cli, "Afterwards", run->next);
                return cli_finish(NULL, CLI_OK);
        }
        (void) fflush(stdout);

        if (!run->yes && !isatty(STDIN_FILENO))
                return cli_usage("standard input is no terminal to ask on: --yes changes it, --dry-run does not");
        if (confirm(run) == 0)
                return cli_nothing("not confirmed: nothing was changed");
        r = run->undo ? plan_apply_undo(plan) : plan_apply(plan);
        if (r < 0)
                return failed(run, r);
        if (cli->json)
                return print_json(run, diff, true);
        print_block(cli, "Done. Now run", run->next);
        return cli_finish(NULL, CLI_OK);
}

/* What any install that died has left; where it is another target's, a failure is its own next run's. */
static int recover(Run *run) {
        Install *install = &run->install;

        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
                _cleanup_plan_ Plan other = PLAN_NULL;

                if (i == run->target)
                        continue;
                plan_init(&other, install->root_fd, targets[i].name);
                if (plan_recover(&other, install->notes) < 0)
                        fprintf(install->notes, "%s: an install did not end and cannot be taken back: %s\n",
                                targets[i].name, other.error ? other.error : "unknown");
        }
        return plan_recover(&install->plan, install->notes);
}

static CliExit run_target(Run *run) {
        Install *install = &run->install;
        int r;

        r = setup(run);
        if (r < 0)
                return r == -ENOMEM ? cli_failure("out of memory") : CLI_FAILURE;
        if (!run->dry_run) {
                r = recover(run);
                if (r < 0)
                        return failed(run, r);
        }

        if (run->undo) {
                r = plan_load_undo(&install->plan, install->notes);
                if (r == -ENOENT)
                        return cli_nothing("%s: podspan is not installed there (no " PLAN_BACKUP_DIR "/%s)",
                                           install->plan.target, install->plan.target);
                if (r >= 0)
                        install_after_undo(install, install->plan.target);
        } else
                r = targets[run->target].install(install);
        return r < 0 ? failed(run, r) : act(run);
}

static CliExit cmd(Cli *cli, bool undo, int argc, char **argv) {
        _cleanup_(run_deinit) Run run = {
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
        return run_target(&run);
}

CliExit cmd_install(Cli *cli, int argc, char **argv) {
        return cmd(cli, false, argc, argv);
}

CliExit cmd_uninstall(Cli *cli, int argc, char **argv) {
        return cmd(cli, true, argc, argv);
}
