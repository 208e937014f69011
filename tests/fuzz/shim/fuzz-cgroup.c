#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *s, size_t len, const char *controller) {
        const char *path;
        int n = cgroup_find_path(s, len, controller, &path);

        if (n >= 0 && (n == 0 || n > CGROUP_PATH_MAX || path < s || path + n > s + len || path[0] != '/' ||
                       memmem(path, (size_t) n, "/../", 4)))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *s = (const char *) data;
        uint64_t value;

        check_path(s, size, NULL);
        check_path(s, size, "memory");
        (void) cgroup_flat_value(s, size, "oom", &value);
        (void) cgroup_flat_value(s, size, "usage_usec", &value);
        return 0;
}
