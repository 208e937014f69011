#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char path[CGROUP_PATH_MAX + 1], id[IDENTITY_ID_MAX + 1];
        uint64_t n;

        if (cgroup_parse((const char *) data, size, path) == 0)
                assert(strncmp(path, CGROUP_ROOT "/", strlen(CGROUP_ROOT "/")) == 0 && !strstr(path, "/../"));
        (void) cgroup_parse_container((const char *) data, size, id);
        (void) cgroup_parse_events((const char *) data, size, &n);
        return 0;
}
