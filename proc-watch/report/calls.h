#pragma once

/*
 * Calls
 *
 * The CRI calls in flight, and those just over: when which were, so that what an engine does itself can be told to
 * belong to the only one. No I/O: names of live context files (docs/context.md) come in as they appear and go, and
 * before them those of the young calls.
 */

#include "clk.h"
#include "context.h"
#include "story.h"

#define CALLS_MAX 128 /* in flight or just over; while there are more in flight, none is the only one */

#define CALLS_FOLLOW_NS \
        (60 * NSEC_PER_SEC) /* of a call that takes longer, or whose file was left behind, it is enough */

typedef struct Call {
        uint64_t name; /* hash of the file's */
        bool young;    /* it has none yet */
        bool seen;     /* among the young ones, since calls_look() */
        Owner *owner;  /* a reference; NULL: not known whose */
        TraceContext context;
        StoryInterval time; /* end: UINT64_MAX while in flight */
} Call;

typedef struct Calls {
        Call items[CALLS_MAX];
        size_t n;
        size_t n_live;
        size_t n_unknown;       /* in flight, above the bound */
        size_t n_young_unknown; /* likewise, young ones that were told of since calls_look() */
} Calls;

/* Is the file @name of a call whose engine's work is to be told: one about a sandbox or container, and no probe? */
bool calls_followed(const char *name);

/*
 * The file @name has appeared. The call began at @begin_ns (CLOCK_MONOTONIC), or after it where that is not known.
 * @record is its, NULL where nothing is to be told of it. @young: not the file, but the record of a call that may get
 * it.
 */
void calls_begin(Calls *calls, const char *name, bool young, const ContextRecord *record, uint64_t begin_ns,
                 const Clk *now);

/*
 * It has gone: all calls that began until @now have been told of. Returns true if @ret says what was known of the call;
 * @ret's owner and @others, room for CALLS_MAX, are valid until the next call of a function here.
 */
bool calls_end(Calls *calls, const char *name, const Clk *now, StoryCall *ret, StoryInterval *others);

/* From here on all young calls that there are are told of once more. */
void calls_look(Calls *calls);

/*
 * Ends a young call that has not been told of since calls_look(), although everything else has been: it is over.
 * Returns 1 or 0 as calls_end() returns true or false, -ENOENT: there is none.
 */
int calls_end_unseen(Calls *calls, const Clk *now, StoryCall *ret, StoryInterval *others);

/* Is exactly one in flight, and one to be followed, for less than CALLS_FOLLOW_NS? */
bool calls_single(const Calls *calls, const Clk *now);

/* What engines did before this is of no use any more. */
uint64_t calls_since(const Calls *calls, const Clk *now);

void calls_clear(Calls *calls);
