#pragma once

/*
 * Sweeping context files
 *
 * What dead writers leave, and what is above the bounds (docs/context.md).
 */

#include "context.h"

/*
 * Removes live files whose writer is dead, then the oldest above the bounds (live, start, hook). For podspan-cri at
 * start and once a minute. Returns 0 or the first negative errno.
 */
int contextsweep_all(Context *context);

/* The same for one kind, until @max are left. */
int contextsweep_kind(Context *context, ContextKind kind, unsigned max);

/*
 * Removes the live calls whose writer is dead, calling @fn for each that was readable: nobody else is told of it. For
 * the writer that comes after it. Returns 0 or a negative errno.
 */
int contextsweep_reap(Context *context, void (*fn)(const ContextRecord *record, void *userdata), void *userdata);
