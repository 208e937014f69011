#pragma once

/*
 * Inherited descriptors
 *
 * Those a container engine leaks on purpose: ports held for the container, pipes of its helpers, what --preserve-fds
 * names. They have to stay open until the container has ended, and not a moment longer.
 */

#include <stddef.h>

typedef struct Inherited {
        int *fds;
        size_t n;
} Inherited;

/* Notes all open descriptors above 2. 0 or a negative errno, then none is noted. */
int inherited_init(Inherited *inherited);
/* Closes those noted, but for @keep_fd. */
void inherited_close(Inherited *inherited, int keep_fd);
/* @fd is closed by somebody else, and its number may name another file then. */
void inherited_forget(Inherited *inherited, int fd);
/* Forgets them. */
void inherited_deinit(Inherited *inherited);
