#pragma once

/*
 * What the journal says about an end
 *
 * The lines of kubelet and the runtimes that name the container or its pod, from its start to a moment after its end:
 * at most five of them, and what they say about why kubelet stopped the container.
 */

#include "answer.h"
#include "logline.h"

#define ANSWERJOURNAL_LINES    5
#define ANSWERJOURNAL_TEXT_MAX 1024               /* bytes of a line that are kept */
#define ANSWERJOURNAL_AFTER_NS (2 * NSEC_PER_SEC) /* lines this long after the end still belong to it */

typedef struct AnswerjournalLine {
        uint64_t at_ns;
        LoglineSeverity severity;
        unsigned rank; /* what stays if there are too many */
        char program[32];
        char text[ANSWERJOURNAL_TEXT_MAX];
} AnswerjournalLine;

typedef struct Answerjournal {
        AnswerjournalLine lines[ANSWERJOURNAL_LINES]; /* oldest first */
        size_t n;
        bool absent;      /* there is none, or it cannot be read */
        uint64_t from_ns; /* all from here on was read */
        uint64_t since_ns;
} Answerjournal;

/* Reads it: of this machine, or the files in @dir; gives the answer what kubelet said. Call before answer_settle().
 * Returns 0 or a negative errno; no journal is no error. */
int answerjournal_read(const char *dir, Answer *answer, Answerjournal *ret);

/* Adds the lines to the answer's evidence, or to what is not known. 0 or -ENOMEM. */
int answerjournal_evidence(const Answerjournal *journal, Answer *answer);
