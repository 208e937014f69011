#pragma once

/*
 * Stage
 *
 * The stages at which an OCI runtime runs hooks (OCI Runtime Specification, "Lifecycle"), and which CRI calls can have
 * caused them.
 */

#include <stdbool.h>
#include "identity.h"
#include "state.h"

typedef enum Stage {
        STAGE_PRESTART, /* deprecated; runs where createRuntime does */
        STAGE_CREATE_RUNTIME,
        STAGE_CREATE_CONTAINER, /* in the container's namespaces, but still with the host's files */
        STAGE_START_CONTAINER,  /* inside the container */
        STAGE_POSTSTART,
        STAGE_POSTSTOP,
        STAGE_UNKNOWN, /* `wrap` without --stage */
} Stage;

/* Parses a stage's name as it stands in the OCI configuration. Returns 0 or -EINVAL. */
int stage_parse(const char *name, Stage *ret);

/* Its name; NULL of STAGE_UNKNOWN. */
const char *stage_name(Stage stage);

/* Does it run outside the container's namespaces, so that pids and /proc mean what they mean to the runtime? */
bool stage_on_host(Stage stage);

/*
 * The CRI methods that can have caused @stage of a sandbox (@sandbox) or a container under @manager; NULL-terminated.
 * With containerd `runc create` belongs to StartContainer, with CRI-O to CreateContainer; runc runs the poststart hooks
 * in `runc create`, crun in `crun start`.
 */
const char *const *stage_operations(Stage stage, Manager manager, bool sandbox);
