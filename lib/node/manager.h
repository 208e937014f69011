#pragma once

/*
 * Manager
 *
 * Who has containers run by an OCI runtime. Which it is, the bundle's path tells, which no pod's author chooses:
 *
 *     …/io.containerd.runtime.v2.task/k8s.io/ID      containerd, for the CRI (other namespaces: other clients)
 *     …/DRIVER-containers/ID/userdata                containers/storage: CRI-O or podman, told apart by
 *                                                    io.container.manager
 *
 * The annotations of the CRI name a pod in such bundles only. This is the one rule of the hook, the monitor and
 * podspan-watch.
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

/*
 * Who runs the container @id whose bundle is at @path; @annotation is its io.container.manager, "" where there is none.
 */
Manager manager_of_bundle(const char *path, const char *id, const char *annotation);
