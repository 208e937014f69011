/* An answer of podspan-export, an order and a set-up: whatever is read is within its bounds, and packs to the same. */

#include <string.h>
#include "exportwire.h"
#include "retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *packed = NULL;
        char text[EXPORTWIRE_MESSAGE_MAX];
        ExportwireAnswer answer;
        ExportwireSetup setup, again;
        ExportwireOrder order;
        size_t n;

        exportwire_set_text(text, (const char *) data, size);
        if (!util_utf8_valid(text, strlen(text)))
                abort();
        if (exportwire_answer_parse(data, size, &answer) == 0 &&
            (!memchr(answer.message, 0, sizeof(answer.message)) || !memchr(answer.partial, 0, sizeof(answer.partial)) ||
             answer.code >= _GRPC_STATUS_MAX || answer.delay_ns > RETRY_INFO_MAX_NS))
                abort();
        if (exportwire_order_parse(data, size, &order) == 0 && order.size > EXPORTWIRE_REQUEST_MAX)
                abort();
        if (exportwire_setup_parse(data, size, &setup) == 0 &&
            (exportwire_setup_pack(&setup, &packed, &n) < 0 || exportwire_setup_parse(packed, n, &again) < 0 ||
             strcmp(setup.target, again.target) != 0 || setup.n_headers != again.n_headers))
                abort();
        return 0;
}
