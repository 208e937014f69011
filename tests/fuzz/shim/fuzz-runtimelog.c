#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtimelog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char message[RUNTIMELOG_TEXT_MAX + 1] = "";
        size_t n = runtimelog_message((const char *) data, size, message);

        if (n > RUNTIMELOG_TEXT_MAX || (n > 0 && strlen(message) != n))
                abort();
        return 0;
}
