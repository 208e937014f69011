#include <stdint.h>
#include <string.h>
#include "contextrecord.h"
#include "contextyoung.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken for a record lies within the slot, between two equal marks, and has no zero in it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *slot = (const char *) data, *text;
        ContextRecord record;
        size_t len;

        text = contextyoung_text(slot, size, &len);
        if (!text)
                return 0;
        if (text < slot || len > size || (size_t) (text - slot) > size - len || memchr(text, '\0', len) ||
            memcmp(slot, text + len, (size_t) (text - slot)) != 0)
                abort();
        (void) context_parse(text, len, &record);
        return 0;
}
