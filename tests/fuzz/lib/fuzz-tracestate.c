#include <stdint.h>
#include <string.h>
#include "tracecontext.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The canonical form is no longer than the original, and its own canonical form. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char once[TRACECONTEXT_TRACESTATE_MAX + 1], twice[TRACECONTEXT_TRACESTATE_MAX + 1];
        int len;

        len = tracecontext_tracestate((const char *) data, size, once, sizeof(once));
        if (len < 0)
                return 0;

        if ((size_t) len > size || strlen(once) != (size_t) len ||
            tracecontext_tracestate(once, (size_t) len, twice, sizeof(twice)) != len || strcmp(once, twice) != 0)
                abort();
        return 0;
}
