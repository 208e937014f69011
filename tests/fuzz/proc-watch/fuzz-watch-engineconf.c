#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "engineconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *userdata, const char *path) {
        (void) userdata;
        assert(engineconf_path_valid(path));
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        for (EngineconfKind kind = ENGINECONF_CONTAINERD; kind <= ENGINECONF_STORAGE; kind++)
                (void) engineconf_read(kind, (const char *) data, size, check, NULL);
        return 0;
}
