/*
 * spawnbench: what it costs to run a program that is nobody's
 *
 * Spawns PROGRAM N times, one after the other, and prints the time from before the spawn to after the wait of each, in
 * nanoseconds, one a line.
 */

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include "clk.h"

extern char **environ;

int main(int argc, char **argv) {
        long n;

        if (argc != 3 || (n = strtol(argv[1], NULL, 10)) <= 0) {
                (void) fprintf(stderr, "usage: spawnbench N PROGRAM\n");
                return 2;
        }
        for (long i = 0; i < n; i++) {
                char *const child_argv[] = { argv[2], NULL };
                uint64_t begin = clk_monotonic();
                pid_t pid;
                int status;

                if (posix_spawn(&pid, argv[2], NULL, NULL, child_argv, environ) != 0 || waitpid(pid, &status, 0) < 0) {
                        (void) fprintf(stderr, "spawnbench: cannot run %s\n", argv[2]);
                        return 1;
                }
                (void) printf("%llu\n", (unsigned long long) (clk_monotonic() - begin));
        }
        return 0;
}
