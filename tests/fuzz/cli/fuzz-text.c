#include <string.h>
#include "text.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nothing that a terminal takes for a command survives, in any buffer; the first byte chooses its size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t out_size = size > 0 ? data[0] + 1U : 1;
        _cleanup_free_ char *out = malloc(out_size), *fit = malloc(out_size), *s = NULL;
        uint64_t ns;
        size_t n;

        if (!out || !fit || size == 0)
                return 0;
        n = text_safe(out, out_size, (const char *) data + 1, size - 1, data[0] & 1);
        for (size_t i = 0; i < n;) {
                uint32_t cp;
                int used = text_utf8_next(out + i, n - i, &cp);

                if (used < 0 || text_codepoint_unsafe(cp))
                        abort();
                i += (size_t) used;
        }
        text_fit(fit, out_size, out, data[0], data[0] & 1);
        if (text_width(fit) > data[0])
                abort();

        s = strndup((const char *) data + 1, size - 1);
        if (s)
                (void) text_parse_time(s, 1763719200 * NSEC_PER_SEC, &ns);
        return 0;
}
