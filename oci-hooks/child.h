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
        int pidfd;
        int signal_fd;     /* signals that were sent to this process, to be forwarded */
        sigset_t old_mask; /* before signals were blocked */
} Child;

#define CHILD_NULL \
        { .pidfd = -EBADF, .signal_fd = -EBADF }

/*
 * Blocks signals, then starts @argv[0] with @envp; @stdin_fd (not negative) becomes its standard input. Searched for in
 * PATH like execvp(3) if it holds no slash. Returns 0, a negative errno if we could not, or if @argv[0] could not be
 * executed its positive errno. In any case child_deinit() is due.
 */
int child_start(Child *child, char *const *argv, char *const *envp, int stdin_fd);
void child_deinit(Child *child);

/* Forwards what has arrived on signal_fd. */
void child_forward_signals(Child *child);

/* Takes the status of the ended child as waitid(2) has it. Returns 0 or a negative errno. */
int child_reap(Child *child, siginfo_t *ret);

/* Ends this process as the child did: with its exit code, or by its signal. */
_Noreturn void child_imitate(const siginfo_t *info);
