#pragma once

/*
 * Manager
 *
 * Who has containers run by an OCI runtime. Which it is, its bundles tell: state.h and podspan-watch's bundle.h.
 */

typedef enum Manager {
        MANAGER_UNKNOWN,
        MANAGER_CONTAINERD,
        MANAGER_CRIO,
        MANAGER_PODMAN,
        _MANAGER_MAX,
} Manager;

/* Its name for container.runtime.name; NULL of MANAGER_UNKNOWN. */
const char *manager_name(Manager manager);
