#include "flagedit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *value;

        if (flagedit_argv((const char *) data, size, "--e", &value) >= 0)
                free(value);
        return 0;
}
