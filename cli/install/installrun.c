#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "installrun.h"
#include "text.h"

const InstallTarget installrun_targets[INSTALLRUN_TARGETS] = {
        { "kubelet", install_kubelet },
        { "crio", install_crio },
        { "containerd", install_containerd },
        { "hooks", install_hooks },
};

void installrun_deinit(InstallRun *run) {
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

int installrun_setup(InstallRun *run) {
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
        plan_init(&install->plan, install->root_fd, installrun_targets[run->target].name);
        install->state_dir = run->cli->state_dir;
        install->notes = open_memstream(&run->notes, &run->notes_n);
        install->next = open_memstream(&run->next, &run->next_n);
        return install->notes && install->next ? 0 : -ENOMEM;
}

CliExit installrun_failed(const InstallRun *run, int error) {
        const Install *install = &run->install;

        return cli_failure("%s%s",
                           install->error        ? install->error
                           : install->plan.error ? install->plan.error
                                                 : strerror(-error),
                           run->undo || run->dry_run || install->plan.stuck ? "" : "; nothing was changed");
}

void installrun_print_lines(const Cli *cli, const char *text, bool coloured) {
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

void installrun_print_block(const Cli *cli, const char *label, const char *text) {
        if (!*text)
                return;
        printf("\n%s%s%s\n", screen_style(&cli->screen, SCREEN_BOLD), label, screen_style(&cli->screen, SCREEN_PLAIN));
        installrun_print_lines(cli, text, false);
}

void installrun_json_lines(Json *json, const char *key, const char *text) {
        json_key(json, key);
        json_array(json);
        while (*text) {
                size_t n = strcspn(text, "\n");

                json_strn(json, text, n);
                text += n + (text[n] == '\n');
        }
        json_array_end(json);
}

int installrun_confirm(const InstallRun *run) {
        char answer[16];

        if (run->yes)
                return 1;
        fprintf(stderr, "%s? [y/N] ", run->undo ? "Take it out" : "Change it");
        if (!fgets(answer, sizeof(answer), stdin))
                return 0;
        return *answer == 'y' || *answer == 'Y';
}

int installrun_recover(InstallRun *run) {
        Install *install = &run->install;

        for (size_t i = 0; i < INSTALLRUN_TARGETS; i++) {
                _cleanup_plan_ Plan other = PLAN_NULL;

                if (i == run->target)
                        continue;
                plan_init(&other, install->root_fd, installrun_targets[i].name);
                if (plan_recover(&other, install->notes) < 0)
                        fprintf(install->notes, "%s: an install did not end and cannot be taken back: %s\n",
                                installrun_targets[i].name, other.error ? other.error : "unknown");
        }
        return plan_recover(&install->plan, install->notes);
}
