#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cgroupfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *s, size_t len, const char *controller) {
        const char *path;
        int n = cgroupfile_find_path(s, len, controller, &path);

        if (n >= 0 && (n == 0 || n > CGROUPFILE_PATH_MAX || path < s || path + n > s + len || path[0] != '/' ||
                       memmem(path, (size_t) n, "/../", 4)))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *s = (const char *) data;
        uint64_t value;

        check_path(s, size, NULL);
        check_path(s, size, "memory");
        (void) cgroupfile_value(s, size, "oom", &value);
        (void) cgroupfile_value(s, size, "usage_usec", &value);
        return 0;
}
