#include <stddef.h>
#include "operations.h"

static const char *const create_containerd[] = { "StartContainer", NULL };
static const char *const create_crio[] = { "CreateContainer", NULL };
static const char *const create_unknown[] = { "StartContainer", "CreateContainer", "RunPodSandbox", NULL };
static const char *const run_sandbox[] = { "RunPodSandbox", NULL };
static const char *const end_container[] = { "StopContainer",
                                             "RemoveContainer",
                                             "StopPodSandbox",
                                             "RemovePodSandbox",
                                             "StartContainer",
                                             "CreateContainer",
                                             NULL };
static const char *const end_sandbox[] = { "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox", NULL };
static const char *const execute[] = { "ExecSync", "Exec", NULL };

const char *const *operations_create(Manager manager, bool sandbox) {
        if (sandbox)
                return run_sandbox;
        if (manager == MANAGER_CONTAINERD)
                return create_containerd;
        return manager == MANAGER_CRIO ? create_crio : create_unknown;
}

const char *const *operations_sandbox(void) {
        return run_sandbox;
}

const char *const *operations_end(bool sandbox) {
        return sandbox ? end_sandbox : end_container;
}

const char *const *operations_exec(void) {
        return execute;
}
