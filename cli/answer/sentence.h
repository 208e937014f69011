#pragma once

/*
 * Sentences about a death
 *
 * A verdict and its facts in words: one sentence for `podspan why`, a few words for the table of `podspan exits`.
 * Every verdict and every missing fact has one. Text of others (programs, the runtime's words) is copied as it is, so
 * whoever prints a sentence escapes it. Times are local. No I/O.
 */

#include "verdict.h"

#define SENTENCE_MAX       512 /* bytes, NUL included */
#define SENTENCE_WORDS_MAX 128

/* "Killed by the OOM killer: container limit 20 MiB, victim `eater` (19.8 MiB), 4.1 s after start." @start_ns is 0
 * where it is not known. */
void sentence_full(const VerdictFacts *facts, const VerdictDecision *decision, uint64_t start_ns,
                   char ret[static SENTENCE_MAX]);

/* "OOM, container limit 20 MiB" */
void sentence_words(const VerdictFacts *facts, const VerdictDecision *decision, char ret[static SENTENCE_WORDS_MAX]);

/* "exit code 7", "SIGKILL", or "" where it is not known. */
void sentence_status(const VerdictFacts *facts, char ret[static SENTENCE_WORDS_MAX]);

/* The runtime's words without what every layer puts before those of the one below. Points into @words. */
const char *sentence_reason(const char *words);

/* "10:00:03", local time. */
#define SENTENCE_CLOCK_MAX 16
const char *sentence_clock(uint64_t ns, char ret[static SENTENCE_CLOCK_MAX]);
