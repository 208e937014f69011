#pragma once

/*
 * Hook
 *
 * podspan-hook as a hook of its own: what a stage says about the container, as spans (docs/hook.md).
 */

#include "options.h"

#define HOOK_SERVICE "podspan-hook"

#define HOOK_INPUT_TIMEOUT_NS (500 * NSEC_PER_MSEC) /* for the state to come in */

/*
 * Runs one stage that was reached at @now_ns of the wall clock. What goes wrong is logged; there is nothing else to be
 * done about it. Nothing is given back, for that is faster done by the kernel: the process ends after this.
 */
void hook_run(const Options *options, char *const *envp, uint64_t now_ns);
