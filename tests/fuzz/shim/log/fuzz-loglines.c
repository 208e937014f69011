#include <stdint.h>
#include <string.h>
#include "loglines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static LogLines lines;

/* Checks one record against the input it came from, and returns how much of that it was. */
static size_t check(const LogLinesRecord *record, const uint8_t *input, size_t left) {
        const size_t content = record->head_len + record->tail_len, used = content + !record->partial;

        if (content > LOGS_LINE_MAX || used > left || memcmp(record->head, input, record->head_len) != 0 ||
            memcmp(record->tail, input + record->head_len, record->tail_len) != 0 || memchr(input, '\n', content) ||
            (!record->partial && input[content] != '\n'))
                abort();
        return used;
}

/* The first byte says how the input is cut and stretched; what comes out is what went in. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t input[4 * LOGS_LINE_MAX];
        size_t n = 0, at = 0, step;
        LogLinesRecord record;

        if (size < 2)
                return 0;
        step = 1 + (size_t) data[0] * data[0];
        for (size_t i = 1; i < size && n < sizeof(input); i++) {
                const size_t repeat = data[i] == 0xff ? LOGS_LINE_MAX - 1 : 1, room = sizeof(input) - n;

                memset(input + n, data[i], MIN(repeat, room));
                n += MIN(repeat, room);
        }

        loglines_init(&lines);
        for (size_t fed = 0; fed < n; fed += step) {
                size_t left = MIN(step, n - fed);
                const uint8_t *piece = input + fed;

                while (loglines_next(&lines, &piece, &left, 0, &record))
                        at += check(&record, input + at, n - at);
                if (left != 0)
                        abort();
        }
        while (loglines_rest(&lines, &record))
                at += check(&record, input + at, n - at);
        if (at != n)
                abort();
        return 0;
}
