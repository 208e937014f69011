#pragma once

/*
 * Cgroup files
 *
 * What the kernel's text files say: /proc/PID/cgroup (cgroups(7)), and the files of flat keys that a cgroup has
 * (memory.events, memory.oom_control, cpu.stat). No I/O.
 */

#include <stddef.h>
#include <stdint.h>

#define CGROUP_FILE_MAX (64U * 1024) /* bytes of /proc/PID/cgroup */
#define CGROUP_PATH_MAX 4095         /* characters of a path in it */

/*
 * Finds in the @len bytes of /proc/PID/cgroup the path of the hierarchy that has @controller (NULL: the unified one,
 * "0::"). Returns its length with a pointer into @s, -ENOENT, or -EBADMSG if a line before it is malformed, the path
 * is not absolute, too long or has a ".." in it (outside of our cgroup namespace).
 */
int cgroup_find_path(const char *s, size_t len, const char *controller, const char **ret);

/* The value of @key in a file of "KEY VALUE" lines. Returns 0, -ENOENT, or -EBADMSG if it is no number. */
int cgroup_flat_value(const char *s, size_t len, const char *key, uint64_t *ret);
