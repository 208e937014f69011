#pragma once

/*
 * Operations
 *
 * Which CRI calls can have caused what a runtime does to a container: the `operations` of a ContextQuery
 * (docs/context.md, "Looking up"), as far as all who ask agree. All lists end with NULL.
 */

#include <stdbool.h>
#include "manager.h"

/*
 * Creating it, with all that belongs to `runc create`: under containerd a part of StartContainer, under CRI-O of
 * CreateContainer. A sandbox's own (@sandbox) is RunPodSandbox's under each.
 */
const char *const *operations_create(Manager manager, bool sandbox);

/* What only making a sandbox does. */
const char *const *operations_sandbox(void);

/* Stopping it and clearing it away. A start that fails is cleaned up by the call that failed. */
const char *const *operations_end(bool sandbox);

/* Executing something in it. */
const char *const *operations_exec(void);
