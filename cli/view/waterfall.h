#pragma once

/*
 * Waterfall
 *
 * The picture of a trace: a line a span, the tree by parent, a bar where in the trace it ran. Time in which nothing
 * happens but spans that live long by nature (a container, an IO loop) is drawn short, so that a pod's start stays
 * readable when a stop, minutes later, is in the same trace.
 */

#include <stdio.h>
#include "screen.h"
#include "trace.h"

/* Prints @trace to @out. Returns 0 or a negative errno (memory). */
int waterfall_print(FILE *out, const Screen *screen, const Trace *trace);

/* The time axis, for the tests too: where a moment stands, in columns of @width. */
typedef struct WaterfallAxis WaterfallAxis;

WaterfallAxis *waterfall_axis_new(const Trace *trace);
WaterfallAxis *waterfall_axis_free(WaterfallAxis *axis);
DEFINE_CLEANUP(WaterfallAxis *, waterfall_axis_free);

/* 0 at the start of the trace, 1 at its end. */
double waterfall_axis_at(const WaterfallAxis *axis, uint64_t ns);

/* How many stretches of idle time are drawn short, and where the @i-th stands (0 … 1). */
size_t waterfall_axis_gaps(const WaterfallAxis *axis);
double waterfall_axis_gap(const WaterfallAxis *axis, size_t i, uint64_t *ret_ns);
