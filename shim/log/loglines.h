#pragma once

/*
 * Lines of a byte stream
 *
 * Cuts what is read from one stream into records as logs.h says: a line is one record, unless it is longer than
 * LOGS_LINE_MAX, wherever the reads end. No I/O, no allocation, no clock of its own.
 */

#include "logs.h"

/* One record: the bytes @head, then the bytes @tail, without a newline. Valid until the next call for the same stream.
 */
typedef struct LogLinesRecord {
        const uint8_t *head; /* held from earlier input */
        size_t head_len;
        const uint8_t *tail; /* in the input */
        size_t tail_len;
        bool partial; /* the line goes on, or its end never came; else a newline was here */
        bool first;   /* begins a line; else it continues a partial record */
} LogLinesRecord;

typedef struct LogLines {
        size_t n_held;
        uint64_t held_ns; /* monotonic time of the last byte held */
        bool taken;       /* what is held is in the record handed out last */
        bool inside;      /* the last record was partial */
        uint8_t held[LOGS_LINE_MAX];
} LogLines;

/* Sets up @lines; its buffer stays untouched memory until it is needed. */
void loglines_init(LogLines *lines);

/*
 * Takes the next record out of the *@n bytes at *@data, which move on behind it. Returns false when there is none: all
 * input is used up then, and an unfinished line is held since @now_ns.
 */
bool loglines_next(LogLines *lines, const uint8_t **data, size_t *n, uint64_t now_ns, LogLinesRecord *ret);

/* Does the next byte begin a line? */
bool loglines_at_begin(const LogLines *lines);

/* What is held, as a partial record; false if nothing is. */
bool loglines_rest(LogLines *lines, LogLinesRecord *ret);

/* The monotonic time at which what is held is due; UINT64_MAX if nothing is. */
uint64_t loglines_deadline(const LogLines *lines);
