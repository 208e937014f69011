#pragma once

/*
 * Starts
 *
 * How sandboxes and containers were started: which calls share a start's trace (decision 2), what later calls link to,
 * the start files (decision 3), and what is learned from calls that succeeded.
 */

#include "call.h"

/*
 * Gives the call its own context, once: a child of the caller's, of the start it is part of, or a new trace. Returns 0
 * or a negative errno.
 */
int callstart_context(Call *call);

/* Remembers the start of what the call is about, before the call itself changes it. */
void callstart_note(Call *call);

/* The request of a StartContainer is complete: from now on that is the container's start. */
void callstart_request(Call *call);

/* The call has ended: what it means for the calls after it. */
void callstart_end(Call *call);

/* Writes the start files that wait. */
void callstart_flush(Calls *calls);

/* Learns from the start files of an earlier podspan-cri. */
void callstart_load(Calls *calls);

/* What an identity says, as fields; the strings are the identity's. */
CriFields callstart_fields(const Identity *identity);
