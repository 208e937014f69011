#include <stdio.h>
#include <string.h>
#include "cmd-install.h"
#include "leftovers.h"
#include "nodeproc.h"

typedef struct All {
        InstallRun *run;
        Plan plans[INSTALLRUN_TARGETS];
        bool installed[INSTALLRUN_TARGETS];
        char *diff;
        size_t diff_n;
        Leftovers left;
        bool removes; /* nothing uses what is left: it goes now */
        bool changed;
} All;

static All *all_free(All *all) {
        if (all) {
                for (size_t i = 0; i < INSTALLRUN_TARGETS; i++)
                        plan_deinit(&all->plans[i]);
                leftovers_deinit(&all->left);
                free(all->diff);
        }
        free(all);
        return NULL;
}
DEFINE_CLEANUP(All *, all_free);

static CliExit all_failed(const All *all, const char *what, const char *why) {
        return cli_failure("%s: %s%s", what, why,
                           all->changed ? "; what was done before it stays" : "; nothing was changed");
}

static CliExit load_all(All *all) {
        Install *install = &all->run->install;
        FILE *out;
        int r = 0;

        out = open_memstream(&all->diff, &all->diff_n);
        if (!out)
                return cli_failure("out of memory");
        for (size_t i = 0; i < INSTALLRUN_TARGETS && r >= 0; i++) {
                Plan *plan = &all->plans[i];

                r = plan_load_undo(plan, install->notes);
                if (r == -ENOENT) {
                        r = 0;
                        continue;
                }
                all->installed[i] = r >= 0;
                if (r >= 0)
                        r = plan_print(plan, out);
                if (r < 0) {
                        (void) fclose(out);
                        return all_failed(all, installrun_targets[i].name, plan->error ? plan->error : strerror(-r));
                }
        }
        return fclose(out) == EOF || r < 0 ? cli_failure("out of memory") : CLI_OK;
}

static bool is_installed(const All *all, const char *name) {
        for (size_t i = 0; i < INSTALLRUN_TARGETS; i++)
                if (strcmp(installrun_targets[i].name, name) == 0)
                        return all->installed[i];
        return false;
}

/* A kubelet that runs has its files as they were when it started. */
static int kubelet_waits(const All *all, bool *ret) {
        _cleanup_nodeprocs_ Nodeprocs found = NODEPROC_NULL;
        int r;

        r = nodeproc_find(all->run->install.root_fd, NODEPROC_KUBELET, &found);
        if (r >= 0)
                *ret = is_installed(all, "kubelet") && nodeproc_count(&found, NULL, NULL) > 0;
        return r;
}

/* The commands after which nothing uses podspan any more. */
static void print_next(const All *all) {
        static const char *const services[] = { "kubelet", "containerd", "crio" };
        FILE *next = all->run->install.next;

        fputs("systemctl daemon-reload\n", next);
        for (size_t i = 0; i < ARRAY_SIZE(services); i++)
                if (is_installed(all, services[i]) ||
                    (i == 0 && memmem(all->left.in_use, all->left.in_use_n, "kubelet dials", 13)))
                        fprintf(next, "systemctl restart %s.service     # %s that run are not touched\n", services[i],
                                i == 0 ? "pods" : "containers");
        if (all->left.n_units > 0) {
                fputs("systemctl disable --now", next);
                for (size_t i = 0; i < all->left.n_units; i++)
                        fprintf(next, " %s", all->left.units[i]);
                fputc('\n', next);
        }
        fputs("podspan uninstall --all     # again: removes what is left\n", next);
}

static CliExit find_rest(All *all) {
        InstallRun *run = all->run;
        bool waits = false;
        int r;

        leftovers_deinit(&all->left);
        all->left = (Leftovers){ .root_fd = run->install.root_fd,
                                 .here = strcmp(run->install.root, "/") == 0,
                                 .state_dir = run->cli->state_dir,
                                 .store_dir = run->cli->store_dir };
        r = leftovers_find(&all->left);
        if (r >= 0)
                r = kubelet_waits(all, &waits);
        if (r < 0)
                return all_failed(all, "what podspan has left cannot be told", strerror(-r));
        all->removes = all->left.in_use_n == 0 && !waits;
        return CLI_OK;
}

static CliExit apply_all(All *all) {
        const char *path = NULL;
        CliExit code;
        int r;

        for (size_t i = 0; i < INSTALLRUN_TARGETS; i++) {
                if (!all->installed[i])
                        continue;
                r = plan_apply_undo(&all->plans[i]);
                if (r < 0)
                        return all_failed(all, installrun_targets[i].name,
                                          all->plans[i].error ? all->plans[i].error : strerror(-r));
                all->changed = true;
        }
        /* Backups are gone now, and what uses it may be another. */
        code = find_rest(all);
        if (code != CLI_OK || !all->removes)
                return code;
        r = leftovers_remove(&all->left, &path);
        if (r < 0)
                return all_failed(all, path, strerror(-r));
        all->changed = all->changed || all->left.n_paths > 0;
        return CLI_OK;
}

static void json_paths(Json *json, const char *key, char *const *paths, size_t n) {
        json_key(json, key);
        json_array(json);
        for (size_t i = 0; i < n; i++)
                json_str(json, paths[i]);
        json_array_end(json);
}

static CliExit print_all(const All *all, bool done) {
        const InstallRun *run = all->run;
        const Leftovers *left = &all->left;
        bool gone = all->removes && done;

        (void) fflush(run->install.next);
        (void) fflush(run->install.notes);
        if (run->cli->json) {
                _cleanup_(json_freep) Json *json = json_new(stdout);

                if (!json)
                        return cli_failure("out of memory");
                json_map(json);
                json_pair_str(json, "target", "all");
                json_pair_str(json, "action", "uninstall");
                json_pair_bool(json, "dry_run", run->dry_run);
                json_pair_bool(json, "changed", all->changed);
                json_pair_str(json, "diff", all->diff);
                json_paths(json, gone ? "removed" : "left", left->paths, left->n_paths);
                installrun_json_lines(json, "in_use", left->in_use);
                installrun_json_lines(json, "notes", run->notes);
                installrun_json_lines(json, "next", run->next);
                json_map_end(json);
                return cli_finish(json, gone || run->dry_run ? CLI_OK : CLI_NOTHING);
        }
        if (gone && left->n_paths == 0 && !all->changed)
                printf("nothing of podspan is left\n");
        installrun_print_block(run->cli, "Still in use", left->in_use);
        installrun_print_block(run->cli, gone ? "Done. Now" : run->dry_run ? "Afterwards" : "Done. Now run", run->next);
        return cli_finish(NULL, gone || run->dry_run ? CLI_OK : CLI_NOTHING);
}

static void print_what(const All *all) {
        const InstallRun *run = all->run;

        if (run->cli->json)
                return;
        installrun_print_lines(run->cli, all->diff, true);
        installrun_print_block(run->cli, "Notes", run->notes);
        if (all->left.n_paths > 0)
                printf("\n%s\n", all->removes ? "To be removed, with all that is in it:"
                                              : "To be removed once nothing uses it, with all that is in it:");
        for (size_t i = 0; i < all->left.n_paths; i++)
                installrun_print_lines(run->cli, all->left.paths[i], false);
        (void) fflush(stdout);
}

CliExit cmd_install_all(InstallRun *run) {
        _cleanup_(all_freep) All *all = calloc(1, sizeof(*all));
        bool anything = false;
        CliExit code;
        int r;

        if (!all)
                return cli_failure("out of memory");
        all->run = run;
        all->left.root_fd = -EBADF;
        r = installrun_setup(run);
        if (r < 0)
                return r == -ENOMEM ? cli_failure("out of memory") : CLI_FAILURE;
        for (size_t i = 0; i < INSTALLRUN_TARGETS; i++)
                plan_init(&all->plans[i], run->install.root_fd, installrun_targets[i].name);
        if (!run->dry_run && (r = installrun_recover(run)) < 0)
                return installrun_failed(run, r);
        if ((code = load_all(all)) != CLI_OK || (code = find_rest(all)) != CLI_OK)
                return code;
        (void) fflush(run->install.notes);
        for (size_t i = 0; i < INSTALLRUN_TARGETS; i++)
                anything = anything || all->installed[i];
        anything = anything || (all->removes && all->left.n_paths > 0);
        print_what(all);
        if (anything && !run->dry_run) {
                if (!run->yes && !isatty(STDIN_FILENO))
                        return cli_usage(
                                "standard input is no terminal to ask on: --yes changes it, --dry-run does not");
                if (installrun_confirm(run) == 0)
                        return cli_nothing("not confirmed: nothing was changed");
                code = apply_all(all);
                if (code != CLI_OK)
                        return code;
        }
        if (!all->removes || (run->dry_run && anything))
                print_next(all);
        if (all->removes && !run->dry_run)
                fputs("# remove the package (`ninja -C BUILD uninstall`), then: rm -r /etc/podspan; userdel podspan\n"
                      "# Containers that run may have podspan-hook in their own configuration: keep it until they are "
                      "gone.\n",
                      run->install.next);
        return print_all(all, !run->dry_run);
}
