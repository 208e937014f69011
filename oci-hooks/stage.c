#include <assert.h>
#include <errno.h>
#include <string.h>
#include "operations.h"
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

/* Under CRI-O the poststart hooks of runc belong to CreateContainer, those of crun to StartContainer. */
static const char *const start_container[] = { "StartContainer", "CreateContainer", NULL };
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
                return operations_create(manager, sandbox);
        case STAGE_START_CONTAINER:
        case STAGE_POSTSTART:
                return sandbox ? operations_sandbox() : start_container;
        case STAGE_POSTSTOP:
                return operations_end(sandbox);
        case STAGE_UNKNOWN:
                break;
        }
        return any;
}
