#pragma once

/*
 * The field that a tap may append
 *
 * Which calls wait for their identity, and the change of a header block that is kept back. A part of the tap: nobody
 * else calls this.
 */

#include "tap.h"

/* May the client's open block still get a field? */
bool tapinject_undecided(const Tap *tap);

/*
 * The frame that ends a new call's header block is whole and kept back: does it get a field? The answer may have to
 * wait, unless @final.
 */
void tapinject_ask_new(Tap *tap, TapStream *stream, bool final);

/* Asks again about a call that waits. */
void tapinject_ask(Tap *tap, const TapStream *stream, bool final);

/* Decides those that wait since @since_ns or longer; the first has waited longest. */
void tapinject_ask_since(Tap *tap, uint64_t since_ns);

/* The call is over before it was decided. */
void tapinject_forget(Tap *tap, const TapStream *stream);
