#pragma once

/*
 * Source
 *
 * The kernel side, loaded: process events out of its ring buffer into the loop. What it needs is in feature.h.
 */

#include "event.h"
#include "loader.h"
#include "loop.h"

typedef struct Source Source;

/*
 * One event with what follows it; an exec or exit comes EVENT_READER_NS late at most. @data is valid during the call. A
 * negative return ends the loop.
 */
typedef int (*SourceFn)(void *userdata, const Event *event, const char *data, size_t size);
/* @n_lost more events have been lost by now; where in the stream, the events say (Event.n_lost). */
typedef int (*SourceLostFn)(void *userdata, uint64_t n_lost);
/* After a batch. */
typedef void (*SourceBatchFn)(void *userdata);

/*
 * Loads and attaches. Returns 0 with a source owned by the caller, and in @ret_verdict what it does without (no reason:
 * it lacks nothing); -EOPNOTSUPP with what is missing in @ret_verdict where it cannot run; or another negative errno.
 */
int source_new(Loop *loop, SourceFn fn, SourceLostFn lost, SourceBatchFn batch, void *userdata,
               LoaderVerdict *ret_verdict, Source **ret);
Source *source_free(Source *source);
DEFINE_CLEANUP(Source *, source_free);

/* A process that runs already: an exec event without arguments, and the name of its program. */
typedef int (*SourceFoundFn)(void *userdata, const Event *event, const char *file);

/*
 * Lets the kernel side look through all processes for long-lived programs of known names, which it follows from then
 * on, and calls @fn for each. 0, or a negative errno of the kernel's or of @fn.
 */
int source_scan(Source *source, SourceFoundFn fn, void *userdata);

/*
 * Says whether anybody wants to know what commands spend their time with (EVENT_WORK), and whether what engines do
 * themselves: attaches the probes or detaches them. 0 or a negative errno: then nothing of it is told.
 */
int source_follow(Source *source, bool commands, bool engines);

bool source_follows(const Source *source);

/* Takes what is in the ring now, as if it had become readable. 0 or what the callbacks return. */
int source_drain(Source *source);

/* How many events of users' processes have not been told since it was asked last, so that root's have room. */
uint64_t source_crowded(Source *source);
