#include <string.h>
#include "criversion.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A reply cut at any place says the same as the whole, or that more is needed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Criversion whole, part;
        int r = criversion_parse(data, size, &whole);

        if (r == 1 &&
            (!*whole.name || !*whole.version || strnlen(whole.name, sizeof(whole.name)) == sizeof(whole.name)))
                abort();
        for (size_t n = 0; n < size && n < 128; n++) {
                uint8_t *exact = malloc(n + 1);
                int s;

                if (!exact)
                        return 0;
                memcpy(exact, data, n);
                s = criversion_parse(exact, n, &part);
                free(exact);
                if (s != 0 && s != r)
                        abort();
                if (s == 1 && strcmp(part.version, whole.version) != 0)
                        abort();
        }
        return 0;
}
