#pragma once

/*
 * Tally
 *
 * Per-minute counts of the calls that do not become spans (List*, Status, probes …), in the mmapped file STATE/tally:
 * written by podspan-cri, read by `podspan status`, also when the writer is dead. Bounded: TALLY_METHODS methods
 * ("_OTHER" takes the rest), TALLY_MINUTES minutes, then the oldest is overwritten.
 */

#include <stdint.h>
#include "util.h"

#define TALLY_METHODS    64
#define TALLY_MINUTES    60
#define TALLY_METHOD_MAX 79

typedef struct Tally Tally;

typedef struct TallyCell {
        uint64_t minute;   /* minutes since the epoch; 0: empty */
        uint32_t n;        /* calls ended in it */
        uint32_t n_failed; /* by the rule of outcome.h */
        uint32_t n_slow;
        uint64_t sum_ns;
        uint64_t max_ns;
} TallyCell;

/* Opens STATE/tally; with @create for writing (by one process, mode 0640; a file of another build is replaced), else a
 * copy of what is there now. Returns NULL without memory or (reading) where there is none; every function accepts NULL.
 */
Tally *tally_open(int state_fd, bool create);
Tally *tally_free(Tally *tally);
DEFINE_CLEANUP(Tally *, tally_free);

/* Does a process hold STATE/tally open for writing, that is: is podspan-cri there? Takes no lock, waits for nobody. */
bool tally_has_writer(int state_fd);

/* Counts one ended call of @method (full, "runtime.v1.RuntimeService/Version") at @now_ns of the wall clock. */
void tally_add(Tally *tally, const char *method, uint64_t now_ns, uint64_t duration_ns, bool failed, bool slow);

/* Calls @fn for every method called in the last @minutes (at most TALLY_MINUTES), with the sum over them up to @now_ns
 * (cell->minute is then the newest with a call). Stops at a negative return. */
int tally_list(const Tally *tally, uint64_t now_ns, unsigned minutes,
               int (*fn)(const char *method, const TallyCell *sum, void *userdata), void *userdata);
