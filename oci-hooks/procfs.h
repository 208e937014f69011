#pragma once

/*
 * Process facts
 *
 * What /proc/PID/stat says about when a process began and who its parent is. A start there is counted in clock ticks
 * since boot, so it is known to 1/sysconf(_SC_CLK_TCK) of a second, rounded down.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct ProcfsProcess {
        pid_t pid;
        pid_t ppid;
        uint64_t start_ticks; /* proc(5), field 22 */
} ProcfsProcess;

/* Parses the text of /proc/PID/stat; the name in it may hold any byte. Returns 0 or -EBADMSG. */
int procfs_parse_stat(const char *s, size_t len, ProcfsProcess *ret);

/* Reads it for @pid. Returns 0 or a negative errno. */
int procfs_get(pid_t pid, ProcfsProcess *ret);

/*
 * The process that ran this one, unless /proc belongs to another pid namespace than ours: numbers in it then mean
 * something else. Returns 0, -EXDEV, or a negative errno.
 */
int procfs_get_parent(ProcfsProcess *ret);

/* When it began, by the wall clock, at the earliest. */
uint64_t procfs_start_realtime(const ProcfsProcess *process);
