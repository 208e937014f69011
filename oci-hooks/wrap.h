#pragma once

/*
 * Wrap
 *
 * Runs another hook unchanged and writes a span of how long it took and how it ended (docs/hook.md).
 */

#include "options.h"

#define WRAP_INPUT_TIMEOUT_NS (50 * NSEC_PER_MSEC) /* how long the wrapped hook may be held back for its state */

/* Runs the wrapped hook. Returns the exit code, unless it ends this process by the signal that ended the hook. */
int wrap_run(const Options *options, char *const *envp, uint64_t now_ns);
