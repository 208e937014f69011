#pragma once

/*
 * The OOM killer in the kernel's log
 *
 * Before it kills, the kernel logs whose process it has chosen:
 * "oom-kill:constraint=…,oom_memcg=/a,task_memcg=/a/b,task=…". A monitor reads this where the cgroup and its counters
 * have been removed already. The log is read from where the monitor was when it opened it.
 */

#include <stdbool.h>
#include <stddef.h>
#include "util.h"

#define OOMLOG_RECORD_MAX  8192         /* bytes of a record of /dev/kmsg */
#define OOMLOG_RECORDS_MAX (16U * 1024) /* that one look reads at most */

typedef enum OomlogRecord {
        OOMLOG_OTHER,
        OOMLOG_KILL,       /* a process in the cgroup was chosen */
        OOMLOG_KILL_OTHER, /* a process elsewhere was */
        OOMLOG_SUPPRESSED, /* records of the OOM killer are missing: the kernel limits their rate */
} OomlogRecord;

/* Reads a record of /dev/kmsg: is it about the cgroup @path ("/a/b", as /proc/PID/cgroup has it)? */
OomlogRecord oomlog_parse(const char *record, size_t len, const char *path);

typedef struct OomlogLook {
        bool killed;     /* a process in the cgroup was chosen since the last look */
        uint64_t others; /* so many were chosen elsewhere */
        bool complete;   /* no record is known to be missing */
} OomlogLook;

/* Opens the log at its end. Returns a descriptor, or a negative errno: not allowed, or the cgroups' names in the log
 * are not those that this process sees. */
int oomlog_open(void);

/* Reads what was logged since the last look. */
void oomlog_look(int fd, const char *path, OomlogLook *ret);
