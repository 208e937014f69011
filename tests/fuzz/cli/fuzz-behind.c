#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "behind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A process's command line, which it can write as it likes: what is taken from it is a path that fits into an address.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *cmdline = malloc(size > 0 ? size : 1), runtime[BEHIND_PATH_MAX];

        if (!cmdline)
                return 0;
        memcpy(cmdline, data, size);
        if (behind_read_cmdline(cmdline, size, runtime))
                assert(*runtime == '/' && strlen(runtime) < sizeof(runtime));
        else
                assert(!*runtime);
        free(cmdline);
        return 0;
}
