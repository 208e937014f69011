#include "flagedit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every value lies within the text, and the search ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *s = (const char *) data;
        size_t last = 0;
        char *value;

        for (FlagSpan span = {}; flagedit_next(s, size, "--e", span.to, &span); last = span.to)
                if (span.from < last || span.from > span.to || span.to > size)
                        abort();
        if (flagedit_argv(s, size, "--e", &value) >= 0)
                free(value);
        return 0;
}
