#pragma once

/*
 * After a crash
 *
 * What a podspan-cri that died knew of the calls in flight is in their context files. Who comes after it makes spans of
 * them: trace, identity, start, and that they were cut off.
 */

#include "calls.h"

/*
 * Takes the live context files of dead writers away and makes their calls' spans (counted, COUNTERS_CRI_CRASHED). The
 * calls ended when the process did, at some time up to now or their deadline: that is the spans' end.
 */
void callcrash_collect(Calls *calls);
