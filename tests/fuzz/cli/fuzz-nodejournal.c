#include <string.h>
#include "nodejournal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken for a version is one: short, of few characters, and in the line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char version[64];

        if (nodejournal_parse_line((const char *) data, size, version) &&
            (*version != 'v' ||
             strspn(version, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+-") != strlen(version)))
                abort();
        return 0;
}
