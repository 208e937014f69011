#include <stdint.h>
#include <string.h>
#include "logjournal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only "<0>" to "<7>" are priorities. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t *exact = malloc(size ? size : 1);
        int priority = -1;
        size_t n;

        if (!exact)
                return 0;
        memcpy(exact, data, size);
        n = logjournal_priority(exact, size, &priority);
        if (n == 0 ? priority != -1
                   : (n != 3 || size < 3 || priority != exact[1] - '0' || priority < 0 || priority > 7))
                abort();
        free(exact);
        return 0;
}
