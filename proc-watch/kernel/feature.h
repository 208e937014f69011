#pragma once

/*
 * Features
 *
 * What podspan-watch needs of its kernel and of its rights, asked for one by one: never the kernel's release, because
 * distributions bring newer features to older kernels. No I/O: the caller says how a feature is asked for.
 */

#include <stdbool.h>
#include <stdint.h>
#include "watchstate.h"

/* In the order in which they are asked for: an answer may depend on the features before it. */
typedef enum Feature {
        FEATURE_HOST_PIDS, /* the host's pid namespace */
        FEATURE_BPF,       /* bpf(2) */
        FEATURE_CAP_BPF,
        FEATURE_CAP_PERFMON,
        FEATURE_BTF,     /* the kernel's type information */
        FEATURE_MEMLOCK, /* room for BPF maps, where they are charged to RLIMIT_MEMLOCK (before Linux 5.11) */
        FEATURE_ALLOWED, /* no filter of system calls and no security module forbids bpf(2) */
        FEATURE_READS,   /* lockdown lets BPF programs read the kernel's memory */
        FEATURE_RINGBUF,
        FEATURE_ITER_TASK,
        FEATURE_HELPERS,
        FEATURE_FORK, /* BTF tracepoints */
        FEATURE_EXEC,
        FEATURE_EXIT,
        FEATURE_RENAME,
        FEATURE_ATTACH,
        _FEATURE_REQUIRED_MAX,
        /* Without these podspan-watch tells less. */
        FEATURE_VICTIM_TASK = _FEATURE_REQUIRED_MAX, /* the OOM killer's tracepoint hands over a task … */
        FEATURE_VICTIM_PID,                          /* … or a pid */
        FEATURE_SIGNAL,
        FEATURE_SWITCH,
        FEATURE_COUNTERS,
        FEATURE_INODE, /* both of ext4's, built into the kernel */
        _FEATURE_MAX,
} Feature;

typedef struct FeatureSet {
        bool has[_FEATURE_MAX];
} FeatureSet;

/* Is @feature there? A negative errno where that cannot be found out, as without memory. */
typedef int (*FeatureFn)(void *userdata, Feature feature);

/*
 * Asks for all features by @fn, up to the first required one that is missing. Returns 0 with what is there in @ret;
 * -EOPNOTSUPP with the missing one in @ret_missing; or what @fn returns.
 */
int feature_probe(FeatureFn fn, void *userdata, FeatureSet *ret, Feature *ret_missing);

/* Of a required feature: which kind it is of, and what to say where it is missing: what, and what to do. */
WatchStateMissing feature_kind(Feature feature);
const char *feature_text(Feature feature);

/* The kernel's name for a tracepoint, NULL if @feature is none; and the helpers of FEATURE_HELPERS, up to a NULL. */
const char *feature_tracepoint(Feature feature);
extern const char *const feature_helpers[];

/*
 * Finds the reason in the verifier's log of a program that it has refused: the last line that is about the program.
 * Writes it to @ret (@size bytes, cut off), or "" if there is none.
 */
void feature_verifier_reason(const char *log, size_t len, char *ret, size_t size);
