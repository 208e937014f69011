#pragma once

/*
 * The calls of a tap
 *
 * A table by stream id; the calls belong to the tap's owner. A part of the tap: nobody else calls this.
 */

#include "tap.h"

/* Makes the table; it is made once. 0 or -ENOMEM. */
int tapstreams_make(Tap *tap);

/* Follows a call with an id that is not in the table, which has been made. */
void tapstreams_insert(Tap *tap, TapStream *stream);

/* NULL if it is not followed. */
TapStream *tapstreams_lookup(Tap *tap, uint32_t id);

/* Takes the call at @p out of the table, and its owner hears that it ended: TapOps.end. */
void tapstreams_end(Tap *tap, TapStream **p, TapEnd how, const TapHeaders *headers, uint32_t error);

/* Likewise, if it is followed. */
void tapstreams_end_by_id(Tap *tap, uint32_t id, TapEnd how, const TapHeaders *headers, uint32_t error);

/* Likewise those with an id above @last. */
void tapstreams_end_above(Tap *tap, uint32_t last, TapEnd how);
