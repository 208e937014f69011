#pragma once

/*
 * Earlier attempts of a call
 *
 * kubelet repeats a call at its deadline, so the call in flight is young. The store has the spans of the ones before.
 */

#include "identity.h"
#include "storedb.h"

#define ATTEMPTS_MAX 1000                 /* spans that are looked at */
#define ATTEMPTS_GAP (600 * NSEC_PER_SEC) /* between two of a row; kubelet's longest back-off is five minutes */

typedef struct Attempts {
        uint64_t n;          /* before the one in flight */
        uint64_t first_ns;   /* when the first of them began; 0: there is none */
        uint64_t n_deadline; /* of them, ended by the caller's deadline */
        uint64_t n_given_up; /* ended by the caller, by its deadline or before */
        char why[160];       /* of the last one */
} Attempts;

/*
 * The calls of @operation for the same pod, and container where one is known, that failed, or that the caller gave up,
 * in a row before @start_ns. Returns 0 or a negative errno.
 */
int attempts_find(StoreDb *db, const char *operation, const Identity *identity, uint64_t start_ns, Attempts *ret);
