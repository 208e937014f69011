#pragma once

/*
 * Runtime arguments
 *
 * The command line of an OCI runtime (runc, crun) for making, restoring or entering a container, as both understand it.
 * No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include "util.h"

typedef enum RuntimeVerb {
        RUNTIME_CREATE,
        RUNTIME_RESTORE,
        RUNTIME_EXEC,
} RuntimeVerb;

typedef struct RuntimeArgs {
        RuntimeVerb verb;
        const char *runtime; /* path of the program */
        const char *id;
        const char *bundle;         /* create, restore */
        const char *pid_file;       /* where the runtime leaves the container's pid */
        const char *process_spec;   /* exec */
        const char *checkpoint;     /* restore */
        const char *const *globals; /* options before the verb */
        size_t n_globals;
        const char *const *options; /* options behind it */
        size_t n_options;
        bool systemd_cgroup; /* not with exec */
        bool no_pivot;       /* not with exec; likewise no_new_keyring */
        bool no_new_keyring;
} RuntimeArgs;

/* "create" … */
const char *runtimeargs_verb(RuntimeVerb verb);

/*
 * Builds the vector, ended by NULL, with @console_socket unless that is NULL. Returns 0 with one allocation owned by
 * the caller, whose strings are those of @args, or -ENOMEM.
 */
int runtimeargs_build(const RuntimeArgs *args, const char *console_socket, char ***ret);
