#pragma once

/*
 * Evidence from the store
 *
 * What an answer rests on, and what happened before: the facts in words, OOM kills of other processes, earlier lives of
 * the same container with their verdicts, failed probes, failed calls of the pod with the runtime's words, pressure;
 * and what is not known because a level of podspan was off.
 */

#include "answer.h"

#define EVIDENCE_LIVES_MAX 5                   /* earlier lives that are told of */
#define EVIDENCE_CALLS_MAX 5                   /* failed calls that are told of */
#define EVIDENCE_BEFORE_NS (60 * NSEC_PER_SEC) /* probes and pressure: so long before the end */

/* Adds it. Call after answer_settle(). Returns 0 or a negative errno. */
int evidence_add(StoreDb *db, Answer *answer);
