#pragma once

/* What cannot be taken back, or kills, in a process of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

/* Has a child exit with what @fn returns, and returns how it ended, as waitpid() has it. */
static inline int child_run(int (*fn)(void)) {
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(fn());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}
