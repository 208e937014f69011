#include <stdint.h>
#include <string.h>
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Durations, sizes, numbers, UTF-8, and bounded copies of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *s = (const char *) data;
        uint64_t number, duration, bytes;
        char copy[16];

        /* What is a plain number is a size as well, and no duration but 0. */
        if (util_parse_u64(s, size, &number) == 0 && (util_parse_size(s, size, &bytes) < 0 || bytes != number ||
                                                      (util_parse_duration(s, size, &duration) == 0 && size != 1)))
                abort();
        (void) util_parse_size(s, size, &bytes);
        (void) util_parse_duration(s, size, &duration);

        util_copy_bounded(copy, sizeof(copy), s, size);
        if (util_utf8_valid(s, size) && !util_utf8_valid(copy, strlen(copy)))
                abort();

        return 0;
}
