#pragma once

/*
 * Exit steps
 *
 * What others wait for when a container has ended: files with its exit code, and a command that cleans up.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "loop.h"

/* Lets @loop go on for @delay_ns. */
void exitstep_pass_time(Loop *loop, uint64_t delay_ns);

/*
 * Writes @code to @dir/@name. Others wait for it, so where the disk is full, or the like, it is tried again for 30
 * seconds, during which @loop goes on. Reports what goes wrong. 0 or a negative errno.
 */
int exitstep_write_file(Loop *loop, const char *dir, const char *name, int code);

typedef struct ExitCommand {
        const char *path;
        const char *const *args;
        size_t n_args;
        const sigset_t *mask; /* these as in runtimecall.h */
        bool default_sigpipe;
        int oom_score_adj;
} ExitCommand;

/* Starts it with nothing but standard streams; what it leaves behind is not ours to wait for. Its pid or a negative
 * errno. */
pid_t exitstep_start_command(const ExitCommand *command);
/* Waits for the end of the command @pid and of every other child. Returns the command's exit code. */
int exitstep_wait_command(pid_t pid);
