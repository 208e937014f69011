#include <stddef.h>
#include <string.h>
#include "semconv.h"
#include "util.h"

bool semconv_long_lived(const char *name) {
        static const char *const names[] = {
                SEMCONV_SPAN_ATTACH,
                SEMCONV_SPAN_CONTAINER,
                SEMCONV_SPAN_READ_LOOP,
                SEMCONV_SPAN_WAIT_FOR_EXIT_CODE,
        };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return false;
}
