#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "exitfacts.h"
#include "oomvictim.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name that the process has chosen, whatever it is, says nothing of its state. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char before[] = "7 (", lives[] = ") S 1 7 7 0 -1 4194560 99", dies[] = ") S 1 7 7 0 -1 4194564 99",
                          forked[] = ") Z 1 7 7 0 -1 4194372 99";
        _cleanup_free_ char *text = malloc(size + sizeof(before) + sizeof(forked)), *copy = malloc(size + 1);
        size_t n = sizeof(before) - 1 + size;

        if (!text || !copy)
                return 0;
        memcpy(copy, data, size); /* ends where the input ends, for the sanitizer */
        (void) oomvictim_parse_stat(copy, size);
        (void) exitfacts_parse_stat(copy, size);
        (void) oomvictim_parse_status(copy, size);

        memcpy(text, before, sizeof(before) - 1);
        memcpy(text + sizeof(before) - 1, data, size);
        memcpy(text + n, lives, sizeof(lives) - 1);
        if (oomvictim_parse_stat(text, n + sizeof(lives) - 1) || exitfacts_parse_stat(text, n + sizeof(lives) - 1))
                abort();
        memcpy(text + n, dies, sizeof(dies) - 1);
        if (!oomvictim_parse_stat(text, n + sizeof(dies) - 1))
                abort();
        memcpy(text + n, forked, sizeof(forked) - 1);
        if (!exitfacts_parse_stat(text, n + sizeof(forked) - 1))
                abort();
        return 0;
}
