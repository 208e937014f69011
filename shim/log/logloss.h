#pragma once

/*
 * What a log destination lost
 *
 * One outage of a destination: from the first byte it did not take to the record in the log that says so.
 */

#include "logs.h"

#define LOGLOSS_TEXT_MAX 160
#define LOGLOSS_NOTE_NS  NSEC_PER_SEC /* between two such records in one log */

typedef struct LogLoss {
        LogsDriver driver;
        const LogsHooks *hooks;
        LogsCounts *counts; /* LOGS_STREAM_MAX of them */
        bool out;           /* the last attempt failed */
        int error;          /* of the outage, negative errno; 0: nothing to be said in the log */
        uint64_t bytes;     /* lost and not said in the log yet */
        uint64_t noted_ns;  /* monotonic time of the last record that said it, 0 for never */
} LogLoss;

/* Counts one failed attempt of @stream, which lost @bytes; the first of an outage is reported. */
void logloss_add(LogLoss *loss, LogsStream stream, uint64_t bytes, int error);

/* An attempt succeeded: the next failure is a new outage. */
void logloss_over(LogLoss *loss);

/*
 * Is it time to say in the log what was lost? Then its text, without newline, is in @ret_text and its length returned,
 * else 0. @final: say it even if something was said a moment ago.
 */
size_t logloss_text(const LogLoss *loss, uint64_t now_ns, bool final, char ret_text[static LOGLOSS_TEXT_MAX]);

/* It was said. */
void logloss_noted(LogLoss *loss, uint64_t now_ns);
