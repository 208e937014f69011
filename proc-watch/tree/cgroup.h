#pragma once

/*
 * cgroup
 *
 * Where a process is in the hierarchy that limits memory (cgroups(7)), and what the events file there says of the OOM
 * killer. The parsers do no I/O.
 */

#include <stddef.h>
#include <stdint.h>
#include "identity.h"
#include "util.h"

#define CGROUP_ROOT     "/sys/fs/cgroup"
#define CGROUP_PATH_MAX 1023

/*
 * The events file of the process whose /proc/PID/cgroup says @s, below CGROUP_ROOT: memory.oom_control in version 1,
 * memory.events in version 2. Returns 0, -ENOENT where no hierarchy limits memory, -ENAMETOOLONG, or -EBADMSG.
 */
int cgroup_parse(const char *s, size_t len, char ret[static CGROUP_PATH_MAX + 1]);

/* How often the OOM killer has killed, by an events file of either version; 0 or -EBADMSG. */
int cgroup_parse_events(const char *s, size_t len, uint64_t *ret);

/*
 * The container that runs in a cgroup called @name, which ends with its id: alone, after a dash, before ".scope".
 * Returns 0 or -EBADMSG.
 */
int cgroup_parse_container(const char *name, size_t len, char ret[static IDENTITY_ID_MAX + 1]);

/* The events file of the process @pid, to be freed. 0 or a negative errno. */
int cgroup_find(uint32_t pid, char **ret);
/* Has the OOM killer killed there? False where the file is not there (any more). */
bool cgroup_oom_killed(const char *path);
