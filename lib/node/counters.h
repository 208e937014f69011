#pragma once

/*
 * Counters
 *
 * One mmapped file, STATE/counters, that every podspan program of the node adds to and `podspan status` reads, also
 * when podspand is dead. A producer counts here what it wrote and what it had to drop, by reason. The file is made
 * whole by the first one that may (so a full spool cannot stop the counting); a producer that cannot open it counts
 * into a page of its own, and nothing fails.
 *
 * It belongs to the user whose directory STATE is, who alone may write it: one that another user could cut short would
 * kill whoever has it mapped. A program of another user (podspand) counts in STATE/counters-UID; readers add up.
 */

#include <stdint.h>
#include "util.h"

typedef struct Counters Counters;

typedef enum CountersProducer {
        COUNTERS_CRI,
        COUNTERS_HOOK,
        COUNTERS_WATCH,
        COUNTERS_CONMON,
        COUNTERS_SHIM,
        COUNTERS_AGENT,
        COUNTERS_PROBE,
        _COUNTERS_PRODUCER_MAX,
} CountersProducer;

/* New ones go to the end: the number is the place in the file. */
typedef enum CountersId {
        COUNTERS_SPANS_WRITTEN,   /* spans in files that reached the spool */
        COUNTERS_DROP_NO_SPACE,   /* spans: ENOSPC, EDQUOT, or below 10 % free */
        COUNTERS_DROP_NO_MEMORY,  /* spans: ENOMEM */
        COUNTERS_DROP_TOO_LARGE,  /* spans: one file's limit */
        COUNTERS_DROP_IO,         /* spans: any other error of the file system */
        COUNTERS_DROP_OVERLOAD,   /* spans: the producer's own limits */
        COUNTERS_CONTEXT_WRITTEN, /* context files */
        COUNTERS_CONTEXT_FAILED,
        COUNTERS_CONTEXT_SWEPT,         /* removed as the oldest above the bound, or left by a dead process */
        COUNTERS_CRI_CONNECTIONS,       /* connections accepted */
        COUNTERS_CRI_PLAIN,             /* connections that became plain forwarding (surprise, limit, parse error) */
        COUNTERS_CRI_INJECTED,          /* calls that got a traceparent field */
        COUNTERS_CRI_COMPRESSED,        /* messages without identity because they are compressed */
        COUNTERS_INPUT_BAD,             /* inputs refused by a parser (state JSON, spool file, context file) */
        COUNTERS_AGENT_FILES,           /* spool files read */
        COUNTERS_AGENT_SPANS,           /* spans taken from the spool and committed to the store */
        COUNTERS_AGENT_DROP_STORE_FULL, /* spans refused: below the free-disk bound, or the store failed */
        COUNTERS_AGENT_EXPORTED,        /* spans the collector accepted */
        COUNTERS_AGENT_REJECTED,        /* spans the collector rejected in a partial success */
        COUNTERS_AGENT_DROP_REFUSED,    /* spans dropped: the collector answered with a status that is not retried */
        COUNTERS_AGENT_DROP_RETENTION,  /* spans removed by retention before they were exported */
        COUNTERS_AGENT_RETRIES,         /* export attempts repeated */
        COUNTERS_AGENT_KEPT,            /* unsampled spans exported by a tail rule */
        COUNTERS_AGENT_EXPORT_SKIPPED,  /* spans not to be exported: not sampled and not kept */
        COUNTERS_HOOK_UNLINKED,         /* hook spans with a derived trace id: no context found */
        COUNTERS_AGENT_TIMEOUTS,        /* exports that timed out: their spans may arrive twice */
        COUNTERS_WATCH_LOST,            /* process events lost: the kernel's buffer or table was full */
        COUNTERS_WATCH_COUNTED,         /* probes and polls seen by podspan-watch or a monitor that became no span */
        COUNTERS_CRI_REFUSED,           /* connections refused: neither uid 0 nor podspan-cri's own */
        COUNTERS_CRI_CLOSED,            /* connections closed by podspan-cri: no memory, or no descriptors */
        COUNTERS_CRI_TAKEN_OVER,        /* connections taken over from a podspan-cri before this one */
        COUNTERS_CRI_CRASHED,           /* calls with a context file that the death of a podspan-cri cut off */
        COUNTERS_AGENT_SET_ASIDE,       /* spool files set aside: podspand died over them twice */
        COUNTERS_AGENT_FOREIGN,         /* removed from the spool: their names are not those of spool files */
        COUNTERS_WATCH_UNREADABLE,      /* bundles of root that podspan-watch could not read */
        COUNTERS_UNTRUSTED,             /* directories not used, since others could change them (lib/base/dirowner.h) */
        COUNTERS_WATCH_CROWDED,  /* events of other users' processes not told: they have a part of the room only */
        COUNTERS_WATCH_UNLINKED, /* commands that podspan-watch gave a derived trace id: no context found */
        _COUNTERS_ID_MAX,
} CountersId;

#define COUNTERS_PRODUCER_SLOTS 16
#define COUNTERS_ID_SLOTS       64
#define COUNTERS_FILES_MAX      64 /* files that a reader looks at */

/*
 * Opens the caller's file in @state_fd; with @create, for producers, makes it, and one that others may write is
 * replaced; without, for readers, the other users' files are read too, as they are now. Never fails: without a file it
 * counts privately. Returns NULL only without memory; every function below accepts NULL.
 */
Counters *counters_open(int state_fd, bool create);
Counters *counters_free(Counters *counters);
DEFINE_CLEANUP(Counters *, counters_free);

/* Is there a file, or does it count privately? */
bool counters_shared(const Counters *counters);

void counters_add(Counters *counters, CountersProducer producer, CountersId id, uint64_t n);
uint64_t counters_get(const Counters *counters, CountersProducer producer, CountersId id);

/* The names `podspan status` prints: "podspan-cri", "drop_no_space" … */
const char *counters_producer_name(CountersProducer producer);
const char *counters_id_name(CountersId id);
