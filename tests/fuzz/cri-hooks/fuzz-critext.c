#include <stdlib.h>
#include <string.h>
#include "crimsg.h"
#include "grpcutil.h"
#include "method.h"

/* The texts in headers and annotations: times, timeouts, messages, statuses, methods. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *s = (const char *) data;
        char message[32], text[256];
        uint64_t ns;
        CriLinks links;
        size_t n;

        (void) cri_time_parse(s, size, &ns);
        if (grpc_timeout_parse(s, size, &ns) == 0 && size > 9)
                abort();

        n = grpc_message_decode(s, size, message, sizeof(message));
        if (n >= sizeof(message) || message[n] != 0 || n > size)
                abort();
        if (grpc_status_parse(s, size) < 0 || !grpc_status_name(grpc_status_parse(s, size)) || !method_find(s, size))
                abort();

        if (size < sizeof(text)) {
                memcpy(text, s, size);
                text[size] = 0;
                cri_links_parse(text, &links);
                if (links.n > CRIMSG_LINKS_MAX)
                        abort();
        }
        return 0;
}
