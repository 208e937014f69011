#include <stdlib.h>
#include <string.h>
#include "spanfind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is found has the ids that were looked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(spanfind_freep) Podspan__Otlp__Span *span = NULL;
        uint8_t trace_id[16] = "0123456789abcde", span_id[8] = "0123456";

        if (spanfind(data, size, trace_id, span_id, &span) == 0 &&
            (span->trace_id.len != 16 || memcmp(span->trace_id.data, trace_id, 16) != 0 || span->span_id.len != 8 ||
             memcmp(span->span_id.data, span_id, 8) != 0))
                abort();
        return 0;
}
