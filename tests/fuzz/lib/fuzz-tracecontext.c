#include <stdint.h>
#include <string.h>
#include "tracecontext.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is understood is written as version 00, which is understood as the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char text[TRACECONTEXT_TRACEPARENT_LEN + 1];
        TraceContext context, again;

        if (tracecontext_parse((const char *) data, size, &context) < 0)
                return 0;

        tracecontext_format(&context, text);
        if (!tracecontext_valid(&context) || tracecontext_parse(text, strlen(text), &again) < 0 ||
            memcmp(&context, &again, sizeof(context)) != 0 || memcmp(text + 2, data + 2, 51) != 0)
                abort();
        return 0;
}
