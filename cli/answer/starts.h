#pragma once

/*
 * Failed starts
 *
 * CRI calls that should have started a pod or a container and failed. kubelet repeats such a call for days, so those in
 * a row, of one pod, container and method, are one.
 */

#include "answer.h"

#define STARTS_MAX       256   /* different ones that are kept; older ones are left out */
#define STARTS_CALLS_MAX 65536 /* failed spans that are looked at */

typedef struct Starts {
        Answer *answers; /* newest first */
        size_t n;
} Starts;

#define STARTS_NULL \
        {}

/* Reads those that pass @filter (`emitted` is not looked at). Returns 0 with @ret owned by the caller, or a negative
 * errno. */
int starts_load(StoreDb *db, const DeathFilter *filter, Starts *ret);
void starts_deinit(Starts *starts);
#define _cleanup_starts_ _cleanup_(starts_deinit)
