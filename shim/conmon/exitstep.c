#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "atomicfile.h"
#include "exitstatus.h"
#include "exitstep.h"
#include "filelimit.h"
#include "monitor.h"
#include "report.h"
#include "runtimecall.h"

#define RETRY_NS    (200 * NSEC_PER_MSEC)
#define RETRIES_MAX 150

typedef struct Pause {
        LoopTimer timer;
        Loop *loop;
} Pause;

static int on_time(LoopTimer *timer) {
        loop_exit(container_of(timer, Pause, timer)->loop, 0);
        return 0;
}

void exitstep_pass_time(Loop *loop, uint64_t delay_ns) {
        Pause pause = { .timer = LOOP_TIMER_NULL, .loop = loop };

        if (loop_timer_add(&pause.timer, loop, on_time) < 0)
                return;
        if (loop_timer_set(&pause.timer, delay_ns, 0) == 0)
                (void) loop_run(loop);
        loop_timer_remove(&pause.timer);
}

static bool may_pass(int error) {
        return error == -ENOSPC || error == -EDQUOT || error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

int exitstep_write_file(Loop *loop, const char *dir, const char *name, int code) {
        char text[16];
        int n, r;

        n = snprintf(text, sizeof(text), "%d", code);
        for (unsigned i = 0;; i++) {
                r = atomicfile_write(dir, name, text, (size_t) n);
                if (r == 0)
                        return 0;
                if (!may_pass(r) || i == RETRIES_MAX)
                        break;
                if (i == 0)
                        report_warning("Failed to write %s to exit file %s/%s: %s: trying again", text, dir, name,
                                       strerrordesc_np(-r));
                exitstep_pass_time(loop, RETRY_NS);
        }

        report_error("Failed to write %s to exit file %s/%s: %s", text, dir, name, strerrordesc_np(-r));
        return r;
}

_Noreturn static void become(const ExitCommand *command, const char **argv) {
        static const struct sigaction def = { .sa_handler = SIG_DFL };

        (void) close_range(STDERR_FILENO + 1, ~0U, 0);
        if (command->default_sigpipe)
                (void) sigaction(SIGPIPE, &def, NULL);
        filelimit_restore();
        (void) sigprocmask(SIG_SETMASK, command->mask, NULL);
        if (command->oom_score_adj != RUNTIMECALL_NO_SCORE)
                (void) runtimecall_oom_score(command->oom_score_adj);
        (void) execv(command->path, (char **) argv);
        _exit(EXIT_FAILURE);
}

pid_t exitstep_start_command(const ExitCommand *command) {
        _cleanup_free_ const char **argv = NULL;
        pid_t pid;

        assert(command->path);

        argv = calloc(command->n_args + 2, sizeof(*argv));
        if (!argv)
                return -ENOMEM;
        argv[0] = command->path;
        for (size_t i = 0; i < command->n_args; i++)
                argv[i + 1] = command->args[i];

        /* It forks twice to leave us, and its children would be handed back. */
        (void) prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                become(command, argv);
        return pid;
}

int exitstep_wait_command(pid_t command) {
        int status, code = 0;
        pid_t pid;

        for (;;) {
                pid = waitpid(-1, &status, 0);
                if (pid == command)
                        code = exitstatus_code(status);
                if (pid < 0 && errno != EINTR)
                        return code;
        }
}
