#pragma once

/*
 * conmon
 *
 * The front end that is called as conmon is: pipes to the caller, pid, exit and OOM files, detaching, the exit command
 * (docs/conmon.md), around the monitor of one container.
 */

#include "conmonline.h"
#include "inherited.h"

#define CONMON_SERVICE "podspan-conmon"

/* Monitors the container of @line to its end. @inherited: what was open at the start. Returns the exit code. */
int conmon_run(const ConmonLine *line, char *const *envp, Inherited *inherited);
