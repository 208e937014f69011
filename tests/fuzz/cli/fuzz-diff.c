#include <string.h>
#include "diff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A change taken out of the text it made gives the text before; NUL parts the three texts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_bytes_ Bytes result = BYTES_NULL, other = BYTES_NULL;
        Bytes text[3];
        const uint8_t *end = data + size;

        for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
                const uint8_t *nul = memchr(data, 0, (size_t) (end - data));
                const uint8_t *to = nul ? nul : end;

                text[i] = (Bytes){ (char *) data, (size_t) (to - data) };
                data = nul ? nul + 1 : end;
        }
        if (diff_undo(&text[0], &text[1], &text[1], &result) != 0 || !bytes_equal(&result, &text[0]))
                abort();
        if (diff_undo(&text[0], &text[1], &text[2], &other) < 0)
                return 0;
        if (other.n > text[0].n + text[1].n + text[2].n)
                abort();
        return 0;
}
