#pragma once

/*
 * Child
 *
 * Starts a program as if the caller had become it, and follows it: same descriptors, signal mask and dispositions, same
 * process group and directory. The child dies with its parent, as a hook dies that the runtime kills on a timeout.
 */

#include <signal.h>
#include <sys/types.h>

typedef struct Child {
        pid_t pid;
        int signal_fd;     /* signals to this process: to be forwarded, or SIGCHLD */
        sigset_t old_mask; /* before signals were blocked */
} Child;

#define CHILD_NULL \
        { .signal_fd = -EBADF }

/*
 * Blocks signals, then starts @argv[0] with @envp; @stdin_fd (not negative) becomes its standard input. Searched for in
 * PATH like execvp(3) if it holds no slash. Returns 0, a negative errno if we could not, or if @argv[0] could not be
 * executed its positive errno. In any case child_deinit() is due.
 */
int child_start(Child *child, char *const *argv, char *const *envp, int stdin_fd);
void child_deinit(Child *child);

/*
 * To be called when signal_fd is readable: forwards what has arrived. Returns 1 with @ret as waitid(2) has it once the
 * child has ended, 0 before, or a negative errno.
 */
int child_run(Child *child, siginfo_t *ret);

/* Ends this process as the child did: with its exit code, or by its signal. */
_Noreturn void child_imitate(const siginfo_t *info);
