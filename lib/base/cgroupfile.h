#pragma once

/*
 * Cgroup files
 *
 * What the kernel's text files say: /proc/PID/cgroup (cgroups(7)), and the files of flat keys that a cgroup has
 * (memory.events, memory.oom_control, cpu.stat). No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUPFILE_MAX      (64U * 1024) /* bytes of /proc/PID/cgroup */
#define CGROUPFILE_PATH_MAX 4095         /* characters of a path in it */

/* A line of /proc/PID/cgroup, "ID:CONTROLLERS:PATH"; the strings are in the file's bytes, without a NUL. */
typedef struct CgroupfileLine {
        const char *id, *controllers, *path;
        size_t n_id, n_controllers, n_path;
} CgroupfileLine;

/*
 * Takes the next line off the *@len bytes at *@s; the last one may lack its newline. Returns 1, 0 at the end, or
 * -EBADMSG if it has no such form.
 */
int cgroupfile_next(const char **s, size_t *len, CgroupfileLine *ret);

/* Is @controller among the line's? */
bool cgroupfile_has(const CgroupfileLine *line, const char *controller);

/* Is the line's path absolute and without a ".." (which the kernel shows for what is outside of our namespace)? */
bool cgroupfile_path_valid(const CgroupfileLine *line);

/*
 * Finds in the @len bytes of /proc/PID/cgroup the path of the hierarchy that has @controller (NULL: the unified one,
 * "0::"). Returns its length with a pointer into @s, -ENOENT, or -EBADMSG if a line before it is malformed, the path
 * is not valid or longer than CGROUPFILE_PATH_MAX.
 */
int cgroupfile_find_path(const char *s, size_t len, const char *controller, const char **ret);

/* The value of @key in a file of "KEY VALUE" lines. Returns 0, -ENOENT, or -EBADMSG if it is no number. */
int cgroupfile_value(const char *s, size_t len, const char *key, uint64_t *ret);
