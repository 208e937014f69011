#pragma once

/*
 * Link
 *
 * Whose trace a command belongs to (docs/context.md). In order of trust: TRACEPARENT in its environment; the CRI call
 * in flight that can have caused it; within the start window (15 minutes) the start of its container or sandbox, as its
 * file has it or as we have seen it ourselves; else the trace derived from the sandbox's (or a lone container's) id.
 * What is nobody's gets no span.
 *
 * Bundles are opened below known roots, following no symbolic link, root's also below the folders that engines have
 * configured (opener.h). One that cannot be read is counted, and the pod taken from what else is known: what the
 * command's arguments and environment say, a call in flight, what was learnt before. What has been learnt of a
 * container stays, LINK_OWNERS_MAX of them, the oldest replaced.
 *
 * A command that runs as another user than root is believed in what is that user's own: a container whose bundle
 * belongs to that user, and never a pod or a call of the CRI.
 */

#include "context.h"
#include "counters.h"
#include "opener.h"
#include "sampler.h"
#include "story.h"

#define LINK_OWNERS_MAX 1024
#define LINK_ROOTS_MAX  16

typedef struct LinkEntry {
        uint64_t hash; /* of the id */
        uint64_t seq;
        uint32_t uid; /* whose container it is */
        Owner *owner;
        TraceContext start; /* the call that its first command belonged to; zero where there was none */
        uint64_t start_ns;  /* wall clock */
} LinkEntry;

typedef struct Link {
        Context *context; /* borrowed */
        Counters *counters;
        Sampler sampler;
        uint64_t start_window_ns;
        const char *roots[LINK_ROOTS_MAX]; /* borrowed; bundles lie below */
        size_t n_roots;
        Opener *opener; /* borrowed; NULL: bundles of root elsewhere are not read */
        struct {
                char path[COMMAND_BUNDLE_MAX + 1];
                int error; /* 0: none since this was set to 0 */
        } unreadable;      /* the bundle that could not be read last */
        LinkEntry *entries;
        uint64_t seq;
} Link;

#define LINK_NULL \
        {}

/* 0 or -ENOMEM. @context and @counters are borrowed. */
int link_init(Link *link, Context *context, Counters *counters, uint32_t sampling_rate, uint64_t start_window_ns);
void link_deinit(Link *link);
/* Bundles below @root are read as well. 0, or -E2BIG. */
int link_add_root(Link *link, const char *root);

/* StoryHost.find. */
int link_find(Link *link, const Command *command, uint64_t time_ns, StoryOrigin *ret);
/* StoryHost.root. */
int link_root(const Link *link, TraceContext *ret);

/* The CRI operations that can have caused @command. */
const char *const *link_operations(const Command *command, Manager manager, bool sandbox);
