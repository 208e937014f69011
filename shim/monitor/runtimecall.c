#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "filelimit.h"
#include "runtimecall.h"
#include "util.h"

#define GATE_SIZE          8192
#define LISTEN_PID         "LISTEN_PID="
#define EXIT_NOT_EXECUTED  127
#define OOM_SCORE_TEXT_MAX 16

int runtimecall_oom_score(int score) {
        _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
        char text[OOM_SCORE_TEXT_MAX];
        ssize_t n;
        int old;

        if (fd < 0)
                return RUNTIMECALL_NO_SCORE;

        n = read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return RUNTIMECALL_NO_SCORE;
        text[n] = '\0';
        old = (int) strtol(text, NULL, 10);

        n = snprintf(text, sizeof(text), "%d", score);
        (void) !write(fd, text, (size_t) n);
        return old;
}

_Noreturn static void give_up(const char *what) {
        (void) dprintf(STDERR_FILENO, "[conmon:e]: %s %s\n", what, strerrordesc_np(errno));
        _exit(EXIT_FAILURE);
}

static void take_stream(int fd, int as, bool pipe) {
        if (fd < 0)
                return;
        if (dup2(fd, as) < 0)
                give_up("Failed to dup over standard stream");
        /* Not every kind of file has a mode. */
        if (pipe)
                (void) fchmod(as, 0777);
}

/* The child's copy of the environment, with a LISTEN_PID that can be written to, or NULL where there is none. */
static int copy_environment(char *const *envp, char *text, char ***ret) {
        size_t n = 0, at = SIZE_MAX;
        char **copy;

        for (; envp[n]; n++)
                if (strncmp(envp[n], LISTEN_PID, sizeof(LISTEN_PID) - 1) == 0)
                        at = n;
        if (at == SIZE_MAX)
                return 0;

        copy = calloc(n + 1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        memcpy(copy, envp, n * sizeof(*copy));
        copy[at] = text;
        *ret = copy;
        return 0;
}

/* Socket activation names the process it is meant for; that was us, or an earlier one, and is now the runtime. */
static void set_listen_pid(const RuntimeCall *call, char *const *envp, char *text, size_t size) {
        const char *value = NULL;
        char *end;
        long pid;

        for (size_t i = 0; envp[i]; i++)
                if (strncmp(envp[i], LISTEN_PID, sizeof(LISTEN_PID) - 1) == 0)
                        value = envp[i] + sizeof(LISTEN_PID) - 1;

        errno = 0;
        pid = strtol(value, &end, 10);
        if (errno != 0 || pid <= 0) {
                errno = EINVAL;
                give_up("Invalid LISTEN_PID");
        }
        if (call->replace_listen_pid || pid == getppid())
                (void) snprintf(text, size, LISTEN_PID "%ld", (long) getpid());
        else
                (void) snprintf(text, size, "%s%.12s", LISTEN_PID, value);
}

_Noreturn static void become(const RuntimeCall *call, char **environment, char *listen_pid, size_t size) {
        static const struct sigaction def = { .sa_handler = SIG_DFL };

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                give_up("Failed to set PDEATHSIG");
        if (call->default_sigpipe)
                (void) sigaction(SIGPIPE, &def, NULL);
        filelimit_restore();
        if (sigprocmask(SIG_SETMASK, call->mask, NULL) < 0)
                give_up("Failed to unblock signals");

        take_stream(call->stdin_fd, STDIN_FILENO, call->stdin_pipe);
        take_stream(call->stdout_fd, STDOUT_FILENO, call->stdout_pipe);
        take_stream(call->stderr_fd, STDERR_FILENO, call->stderr_pipe);

        if (environment)
                set_listen_pid(call, call->envp, listen_pid, size);

        if (call->gate_fd >= 0) {
                char buffer[GATE_SIZE];
                ssize_t n;

                do
                        n = read(call->gate_fd, buffer, sizeof(buffer));
                while (n < 0 && errno == EINTR);
                if (n < 0)
                        give_up("start-pipe read failed");
                (void) close(call->gate_fd);
        }

        if (call->oom_score_adj != RUNTIMECALL_NO_SCORE)
                (void) runtimecall_oom_score(call->oom_score_adj);

        (void) execve(call->argv[0], call->argv, environment ? environment : call->envp);
        _exit(EXIT_NOT_EXECUTED);
}

int runtimecall_start(const RuntimeCall *call, pid_t *ret) {
        char listen_pid[sizeof(LISTEN_PID) + 16];
        _cleanup_free_ char **environment = NULL;
        pid_t pid;
        int r;

        assert(call);
        assert(call->argv && call->argv[0]);
        assert(call->mask);
        assert(ret);

        r = copy_environment(call->envp, listen_pid, &environment);
        if (r < 0)
                return r;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                become(call, environment, listen_pid, sizeof(listen_pid));

        *ret = pid;
        return 0;
}
