/*
 * spawnbench: what it costs to run a program that is nobody's
 *
 *     spawnbench N PROGRAM [RATE]
 *
 * Spawns PROGRAM N times, one after the other, or RATE of them a second, and prints the time from before the spawn to
 * after the wait of each, in nanoseconds, one a line.
 */

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include "clk.h"
#include "util.h"

extern char **environ;

int main(int argc, char **argv) {
        uint64_t start = clk_monotonic();
        long n, rate = argc == 4 ? strtol(argv[3], NULL, 10) : 0;

        if (argc < 3 || argc > 4 || (n = strtol(argv[1], NULL, 10)) <= 0 || rate < 0) {
                (void) fprintf(stderr, "usage: spawnbench N PROGRAM [RATE]\n");
                return 2;
        }
        for (long i = 0; i < n; i++) {
                char *const child_argv[] = { argv[2], NULL };
                uint64_t begin;
                pid_t pid;
                int status;

                if (rate > 0) {
                        uint64_t at = start + (uint64_t) i * NSEC_PER_SEC / (uint64_t) rate;
                        const struct timespec when = { (time_t) (at / NSEC_PER_SEC), (long) (at % NSEC_PER_SEC) };

                        (void) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
                }
                begin = clk_monotonic();
                if (posix_spawn(&pid, argv[2], NULL, NULL, child_argv, environ) != 0 || waitpid(pid, &status, 0) < 0) {
                        (void) fprintf(stderr, "spawnbench: cannot run %s\n", argv[2]);
                        return 1;
                }
                (void) printf("%llu\n", (unsigned long long) (clk_monotonic() - begin));
        }
        return 0;
}
