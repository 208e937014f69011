#include "bytes.h"
#include "endpoint.h"
#include "netunix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The kernel's table, and what a peer answers first: whatever stands there, it ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        NetunixSocket found;

        if (bytes_dup(data, size, &text) < 0)
                return 0;
        netunix_find(text.p, "/a", &found);
        if (size > 0)
                (void) endpoint_recognize(data, size);
        return 0;
}
