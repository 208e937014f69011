#include <stddef.h>
#include "manager.h"

const char *manager_name(Manager manager) {
        static const char *const names[_MANAGER_MAX] = {
                [MANAGER_CONTAINERD] = "containerd",
                [MANAGER_CRIO] = "cri-o",
                [MANAGER_PODMAN] = "podman",
        };

        return names[manager];
}
