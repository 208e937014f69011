#pragma once

/*
 * Runtime call
 *
 * Starts an OCI runtime as a child: its standard streams become the container's, it dies with its parent, and what the
 * monitor changed of itself (signal mask and dispositions, OOM score) is undone in it.
 */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#define RUNTIMECALL_NO_SCORE INT32_MIN

typedef struct RuntimeCall {
        char *const *argv;
        char *const *envp;
        int stdin_fd; /* each: what becomes the stream; negative: as inherited */
        int stdout_fd;
        int stderr_fd;
        bool stdin_pipe; /* is it a pipe of the container's? It is then given mode 0777, so that /dev/stdin can be
                            opened by whomever the container runs as */
        bool stdout_pipe;
        bool stderr_pipe;
        int gate_fd;             /* not negative: the program starts after one read from here, or its end */
        const sigset_t *mask;    /* the signal mask to go back to */
        bool default_sigpipe;    /* SIGPIPE back to its default */
        int oom_score_adj;       /* to go back to; RUNTIMECALL_NO_SCORE: leave it */
        bool replace_listen_pid; /* LISTEN_PID becomes the child's even if it named somebody else than its parent */
} RuntimeCall;

/*
 * Returns 0 with the child's pid, or a negative errno. What fails in the child, exec included, is that it ends with a
 * status other than 0, and for what comes before exec a line on its standard error.
 */
int runtimecall_start(const RuntimeCall *call, pid_t *ret);

/* Reads /proc/self/oom_score_adj and writes @score there; both best effort. Returns the old one, or
 * RUNTIMECALL_NO_SCORE. */
int runtimecall_oom_score(int score);
