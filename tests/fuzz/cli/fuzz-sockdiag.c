#include <stdlib.h>
#include <string.h>
#include "sockdiag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Replies of sock_diag: whatever the sizes in them say, nothing outside is read, and it ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t *exact = malloc(size > 0 ? size : 1);
        const uint8_t *p = exact;
        SockdiagSocket socket;
        size_t n = size;
        uint32_t sum = 0;

        if (!exact)
                return 0;
        if (size > 0)
                memcpy(exact, data, size);
        while (sockdiag_next(&p, &n, &socket) > 0) {
                if (strnlen(socket.name, sizeof(socket.name)) == sizeof(socket.name))
                        abort();
                for (size_t i = 0; i < 4 * socket.n_waiting; i++)
                        sum += socket.waiting[i];
        }
        free(exact);
        return sum == UINT32_MAX ? 0 : 0;
}
