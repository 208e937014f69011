#pragma once

/*
 * The span of a CRI call
 *
 * Name, attributes and links as docs/cri.md lists them.
 */

#include "call.h"

/* Makes the span of @call, which has its context. Returns 0 with a span owned by the caller, or -ENOMEM. */
int callspan_make(const Call *call, const CallEnd *end, Span **ret);
