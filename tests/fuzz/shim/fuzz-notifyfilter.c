#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "notifyfilter.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is let through is let through again, unchanged, and names no process and no descriptor. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *once = malloc(size + 1), *twice = malloc(size + 1);
        size_t n;

        if (!once || !twice)
                return 0;
        n = notifyfilter_run((const char *) data, size, once);
        if (n > size || notifyfilter_run(once, n, twice) != n || memcmp(once, twice, n) != 0)
                abort();
        once[n] = '\0';
        if (strncmp(once, "MAINPID", 7) == 0 || strstr(once, "\nMAINPID") || strstr(once, "\nFDSTORE"))
                abort();
        return 0;
}
