#pragma once

/*
 * Stop calls in flight
 *
 * A stop call that takes long has no span when the container's end is decided on. Its context file says that it is
 * under way: STATE/context/live (docs/context.md), as podspan-cri publishes it.
 */

#include "tail.h"

typedef struct Stopping {
        int state_fd; /* borrowed; negative: nothing can be found out */
        char id[STORE_TEXT_MAX + 1];
} Stopping;

/* TailStopping's function; @userdata is a Stopping. */
const char *stopping_find(const StoreUndecided *undecided, uint64_t *ret_began_ns, void *userdata);
