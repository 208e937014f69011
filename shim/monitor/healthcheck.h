#pragma once

/*
 * Health check
 *
 * Is an exec a container's health check? podman starts health checks by itself, as `podman healthcheck run CONTAINER`,
 * and the monitor is a child of that command. So the command line of the monitor's caller says it, by the position of
 * its words: the word "healthcheck" in a container's name, an image or a command means nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Are the @size bytes at @words, arguments that each end in NUL (as in /proc/PID/cmdline), the command line
 * `PODMAN [GLOBAL OPTION…] healthcheck run …`? A command line that is cut off, or that has an option which podspan
 * takes for one with a value and which has none, is not recognised: the exec is then reported like any other.
 */
bool healthcheck_line(const char *words, size_t size);

/* The same for the process @pid, which has to exist: the caller waits for the monitor. */
bool healthcheck_process(pid_t pid);
