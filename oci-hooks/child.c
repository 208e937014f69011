#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "child.h"
#include "filelimit.h"
#include "util.h"

#define EXIT_BY_SIGNAL 128 /* plus its number, as a shell says it */

/* These tell of a fault in the process itself. */
static const int not_blocked[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };

static int block_signals(Child *child) {
        sigset_t set;

        (void) sigfillset(&set);
        for (size_t i = 0; i < ARRAY_SIZE(not_blocked); i++)
                (void) sigdelset(&set, not_blocked[i]);

        if (sigprocmask(SIG_BLOCK, &set, &child->old_mask) < 0)
                return -errno;
        child->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return child->signal_fd < 0 ? -errno : 0;
}

/* Runs in the child of vfork(2), on the parent's memory: system calls only. */
static _Noreturn void child_exec(const Child *child, char *const *argv, char *const *envp, int stdin_fd, pid_t parent,
                                 const struct sigaction *sigchld, volatile int *ret_error) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) {
                *ret_error = errno != 0 ? errno : ESRCH;
                _exit(EXIT_FAILURE);
        }

        if (stdin_fd >= 0 && dup2(stdin_fd, STDIN_FILENO) < 0) {
                *ret_error = errno;
                _exit(EXIT_FAILURE);
        }
        (void) sigaction(SIGCHLD, sigchld, NULL);
        filelimit_restore();
        (void) sigprocmask(SIG_SETMASK, &child->old_mask, NULL);

        if (strchr(argv[0], '/'))
                (void) execve(argv[0], argv, envp);
        else
                (void) execvpe(argv[0], argv, envp);
        *ret_error = errno;
        _exit(EXIT_FAILURE);
}

int child_start(Child *child, char *const *argv, char *const *envp, int stdin_fd) {
        struct sigaction sigchld, standard = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };
        volatile int error = 0;
        pid_t parent = getpid();
        int r;

        assert(child);
        assert(argv && argv[0]);

        *child = (Child) CHILD_NULL;

        r = block_signals(child);
        if (r < 0)
                return r;

        /* Where SIGCHLD is ignored a child leaves no status. */
        if (sigaction(SIGCHLD, &standard, &sigchld) < 0)
                return -errno;

        errno = 0;
        child->pid = vfork();
        if (child->pid == 0)
                child_exec(child, argv, envp, stdin_fd, parent, &sigchld, &error);
        if (child->pid < 0)
                return -errno;

        if (error != 0)
                (void) waitpid(child->pid, NULL, 0);
        return error;
}

void child_deinit(Child *child) {
        if (!child)
                return;

        child->signal_fd = close_fd(child->signal_fd);
}

int child_run(Child *child, siginfo_t *ret) {
        struct signalfd_siginfo signal;
        siginfo_t info = {};

        assert(child);
        assert(ret);

        while (read(child->signal_fd, &signal, sizeof(signal)) == (ssize_t) sizeof(signal)) {
                /* A terminal's signals reach the whole process group, and so the child; our own are about our pipes. */
                if (signal.ssi_signo == SIGCHLD || signal.ssi_code == SI_KERNEL ||
                    signal.ssi_pid == (uint32_t) getpid())
                        continue;
                /* The pid is the child's until waitid() has taken it. */
                (void) kill(child->pid, (int) signal.ssi_signo);
        }

        if (waitid(P_PID, (id_t) child->pid, &info, WEXITED | WNOHANG) < 0)
                return errno == EINTR ? 0 : -errno;
        if (info.si_pid == 0)
                return 0;

        *ret = info;
        return 1;
}

_Noreturn void child_imitate(const siginfo_t *info) {
        struct sigaction standard = { .sa_handler = SIG_DFL };
        sigset_t set;

        if (info->si_code == CLD_EXITED)
                _exit(info->si_status);

        /* The core that matters was the child's. */
        (void) prctl(PR_SET_DUMPABLE, 0);
        (void) sigaction(info->si_status, &standard, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, info->si_status);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void) raise(info->si_status);

        /* The first process of a pid namespace survives its own signals. */
        _exit(EXIT_BY_SIGNAL + info->si_status);
}
