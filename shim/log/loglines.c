#include <string.h>
#include "loglines.h"

void loglines_init(LogLines *lines) {
        memset(lines, 0, offsetof(LogLines, held));
}

/* What was handed out with the last record is gone now. */
static void forget_taken(LogLines *lines) {
        if (!lines->taken)
                return;
        lines->n_held = 0;
        lines->taken = false;
}

static void hand_out(LogLines *lines, const uint8_t *tail, size_t tail_len, bool partial, LogLinesRecord *ret) {
        *ret = (LogLinesRecord){
                .head = lines->held,
                .head_len = lines->n_held,
                .tail = tail,
                .tail_len = tail_len,
                .partial = partial,
                .first = !lines->inside,
        };
        lines->taken = true;
        lines->inside = partial;
}

bool loglines_next(LogLines *lines, const uint8_t **data, size_t *n, uint64_t now_ns, LogLinesRecord *ret) {
        const uint8_t *newline;
        size_t fits, window, used;

        forget_taken(lines);
        if (*n == 0)
                return false;

        fits = LOGS_LINE_MAX - lines->n_held;
        window = MIN(*n, fits + 1); /* a newline behind the last byte that fits makes it a whole line */
        newline = memchr(*data, '\n', window);
        if (!newline && window <= fits) {
                memcpy(lines->held + lines->n_held, *data, *n);
                lines->n_held += *n;
                lines->held_ns = now_ns;
                *data += *n;
                *n = 0;
                return false;
        }

        used = newline ? (size_t) (newline - *data) : fits;
        hand_out(lines, *data, used, !newline, ret);
        used += newline ? 1 : 0;
        *data += used;
        *n -= used;
        return true;
}

bool loglines_at_begin(const LogLines *lines) {
        return !lines->inside && (lines->n_held == 0 || lines->taken);
}

bool loglines_rest(LogLines *lines, LogLinesRecord *ret) {
        forget_taken(lines);
        if (lines->n_held == 0)
                return false;
        hand_out(lines, lines->held, 0, true, ret);
        return true;
}

uint64_t loglines_deadline(const LogLines *lines) {
        return lines->n_held > 0 && !lines->taken ? lines->held_ns + LOGS_PARTIAL_NS : UINT64_MAX;
}
