/* A file of /proc/pressure: each total is a number that fits, or not known. */

#include <stdlib.h>
#include <string.h>
#include "pressure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *copy = malloc(size + 1);
        int64_t some, full;

        if (!copy)
                return 0;
        memcpy(copy, data, size); /* ends where the input ends, for the sanitizer */
        pressure_parse(copy, size, &some, &full);
        if (some < -1 || full < -1)
                abort();
        return 0;
}
