#include <assert.h>
#include <errno.h>
#include <string.h>
#include "stage.h"
#include "util.h"

static const struct {
        const char *name;
        bool on_host;
} stages[] = {
        [STAGE_PRESTART] = { "prestart", true },
        [STAGE_CREATE_RUNTIME] = { "createRuntime", true },
        [STAGE_CREATE_CONTAINER] = { "createContainer", false },
        [STAGE_START_CONTAINER] = { "startContainer", false },
        [STAGE_POSTSTART] = { "poststart", true },
        [STAGE_POSTSTOP] = { "poststop", true },
        [STAGE_UNKNOWN] = { NULL, false },
};

static const char *const create_containerd[] = { "StartContainer", NULL };
static const char *const create_crio[] = { "CreateContainer", NULL };
static const char *const create_unknown[] = { "StartContainer", "CreateContainer", "RunPodSandbox", NULL };
static const char *const start_container[] = { "StartContainer", "CreateContainer", NULL };
static const char *const run_sandbox[] = { "RunPodSandbox", NULL };
/* A start that fails is cleaned up by the call that failed. */
static const char *const stop_container[] = { "StopContainer",
                                              "RemoveContainer",
                                              "StopPodSandbox",
                                              "RemovePodSandbox",
                                              "StartContainer",
                                              "CreateContainer",
                                              NULL };
static const char *const stop_sandbox[] = { "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox", NULL };
static const char *const any[] = { "StartContainer",  "CreateContainer", "RunPodSandbox",    "StopContainer",
                                   "RemoveContainer", "StopPodSandbox",  "RemovePodSandbox", NULL };

int stage_parse(const char *name, Stage *ret) {
        assert(name);
        assert(ret);

        for (size_t i = 0; i < STAGE_UNKNOWN; i++)
                if (strcmp(name, stages[i].name) == 0) {
                        *ret = (Stage) i;
                        return 0;
                }
        return -EINVAL;
}

const char *stage_name(Stage stage) {
        return stages[stage].name;
}

bool stage_on_host(Stage stage) {
        return stages[stage].on_host;
}

const char *const *stage_operations(Stage stage, Manager manager, bool sandbox) {
        switch (stage) {
        case STAGE_PRESTART:
        case STAGE_CREATE_RUNTIME:
        case STAGE_CREATE_CONTAINER:
                if (sandbox)
                        return run_sandbox;
                if (manager == MANAGER_CONTAINERD)
                        return create_containerd;
                if (manager == MANAGER_CRIO)
                        return create_crio;
                return create_unknown;
        case STAGE_START_CONTAINER:
        case STAGE_POSTSTART:
                return sandbox ? run_sandbox : start_container;
        case STAGE_POSTSTOP:
                return sandbox ? stop_sandbox : stop_container;
        case STAGE_UNKNOWN:
                break;
        }
        return any;
}
