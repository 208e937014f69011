#pragma once

/*
 * Exit facts
 *
 * What can be read of a container at its end for the verdict (verdict.h): whether its program ever ran, what its cgroup
 * counted, and whose limit the OOM killer enforced.
 */

#include <stdbool.h>
#include <sys/types.h>
#include "verdict.h"

/*
 * Is @pid a process that never executed a program? To be asked before it is reaped. A container's first process is a
 * fork of its runtime until it executes the container's program. False where that is not known.
 */
bool exitfacts_never_ran(pid_t pid);
/* The same by the text of /proc/PID/stat. */
bool exitfacts_parse_stat(const char *s, size_t len);

/*
 * Reads what the cgroup of version 2 (@unified) or 1 counted into @facts. @memory_fd and @cpu_fd are its directories;
 * negative: not there.
 */
void exitfacts_read_counts(int memory_fd, int cpu_fd, bool unified, VerdictFacts *facts);

/*
 * After exitfacts_read_counts(), where the OOM killer killed the container's first process: whose limit was it? Of
 * version 2 each group counts in memory.events.local how often its own limit was hit. The answer is the container's
 * where its own was hit, nobody else of it was killed, and none above was hit ever. Else it is not known.
 */
void exitfacts_read_scope(int memory_fd, bool unified, VerdictFacts *facts);
