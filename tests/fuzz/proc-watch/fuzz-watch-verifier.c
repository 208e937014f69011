#include <stdint.h>
#include <string.h>
#include "feature.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The reason is one line, within its buffer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char reason[32];

        feature_verifier_reason((const char *) data, size, reason, sizeof(reason));
        if (strnlen(reason, sizeof(reason)) == sizeof(reason) || strchr(reason, '\n'))
                abort();
        return 0;
}
