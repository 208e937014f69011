#include "oomlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        (void) oomlog_parse((const char *) data, size, "/machine.slice/libpod-1.scope");
        return 0;
}
