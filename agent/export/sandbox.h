#pragma once

/*
 * Sandbox
 *
 * What podspan-export is left with before it starts gRPC: threads, memory, sockets of the unix and internet families,
 * and reading the files of the system, the resolver's configuration and the system's certificates among them. Nothing
 * is written, made, removed or executed, and the store, the spool and homes are closed (Landlock, where the kernel has
 * it; the filter of system calls in any case).
 */

#include <stdbool.h>

/* @kill as sysfilter_load(). Returns 0 or a negative errno. */
int sandbox_load(bool kill);
