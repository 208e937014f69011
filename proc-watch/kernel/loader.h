#pragma once

/*
 * Loader
 *
 * Loads the kernel side: finds out what this kernel and our rights offer (feature.h), chooses the programs, and has
 * the kernel's reason where it refuses them. The log gets what libbpf and the verifier say at level debug.
 */

#include "probes.h"
#include "watchstate.h"

struct watch_bpf;

/* Why the kernel side cannot be loaded here, or what it does without. */
typedef struct LoaderVerdict {
        WatchStateMissing missing;
        char reason[WATCHSTATE_REASON_MAX]; /* sentences for people; "" if nothing is to be said */
} LoaderVerdict;

/*
 * Loads all programs that this kernel takes; attaches none. Returns 0 with the skeleton owned by the caller, its probes
 * in @ret_probes, and in @ret_verdict what is left out; -EOPNOTSUPP with what is missing in @ret_verdict; or another
 * negative errno of a passing state, as without memory.
 */
int loader_load(struct watch_bpf **ret, Probes *ret_probes, LoaderVerdict *ret_verdict);

/*
 * Says in @ret_verdict what the negative errno @r of the kernel means, which came at @what. Returns -EOPNOTSUPP, or @r
 * for a passing state.
 */
int loader_judge(int r, const char *what, LoaderVerdict *ret_verdict);
