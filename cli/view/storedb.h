#pragma once

/*
 * Store, reading
 *
 * STORE/podspan.db (docs/store.md) read-only, also while podspand writes it, and by users who are only in its group.
 * Every value in a query is bound. Rows are handed to callbacks; what is kept is bounded by the caller.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "outcome.h"
#include "util.h"

#define STOREDB_BUSY_MS    2000
#define STOREDB_BATCH_MAX  (64U * 1024 * 1024) /* bytes of one batch; more is skipped */
#define STOREDB_PREFIX_MIN 4                   /* hex digits of a trace id's prefix */

#define STOREDB_SETTLE_NS NSEC_PER_SEC /* the span of a call that has ended is in the store after this */
#define STOREDB_STOPS_MAX 1024         /* stop calls in flight that are considered */

typedef struct StoreDb StoreDb;

/* Whether a span failed: its own outcome, and for the end of a container what else is known (outcome.h). */
typedef enum StoreDbVerdict {
        STOREDB_OK,
        STOREDB_FAILED,
        STOREDB_STOPPED,   /* a container that a stop call ended */
        STOREDB_UNDECIDED, /* one that ended a moment ago: the stop call's span may be on its way */
        STOREDB_UNKNOWN,   /* nobody saw how it ended */
} StoreDbVerdict;

/*
 * Opens the store in the directory @dir. Returns 0 with @ret owned by the caller, or a negative errno with a message
 * for people in @reterr_message: -ENOENT (no store), -EACCES, -EPROTO (another schema version), -EIO …
 */
int storedb_open(const char *dir, StoreDb **ret, char **reterr_message);
StoreDb *storedb_free(StoreDb *db);
DEFINE_CLEANUP(StoreDb *, storedb_free);

/*
 * Tells @db of stop calls in flight, whose spans are still to come: those in @state_fd's context files (negative:
 * none). Returns 0 or a negative errno.
 */
int storedb_add_stops(StoreDb *db, int state_fd);

/* The connection, for queries of other modules (storequery.h); @db keeps it. */
struct sqlite3 *storedb_sqlite(StoreDb *db);

/* SQLite's message of the last failure. */
const char *storedb_error(const StoreDb *db);

typedef struct StoreDbFilter {
        uint64_t since_ns;     /* start of the trace: from here */
        uint64_t until_ns;     /* … to before here; 0: no bound */
        const char *pod;       /* name, namespace/name or UID */
        const char *container; /* name or id */
        const char *namespace;
        const char *service;
        const char *name;        /* part of a span's name */
        bool errors;             /* with a failed span */
        uint64_t slower_than_ns; /* lasting longer, first start to last end */
        unsigned limit;
} StoreDbFilter;

typedef struct StoreDbTrace {
        uint8_t trace_id[16];
        uint64_t start_ns;
        uint64_t end_ns;
        uint64_t n_spans;
        uint64_t n_errors;
        uint64_t n_services;
        const char *operation; /* name of the first span, of several that began then the longest; the strings are valid
                                  within the callback */
        const char *service;   /* its service */
        const char *pod_uid;   /* of the first span that names a pod; "" if none */
        const char *pod_name;
        const char *pod_namespace;
        const char *container_id; /* of a trace that names no pod: of the first span that names one; "" if none */
        const char *container_name;
        const char *kept; /* reason in table keep, or "" */
        const char *why;  /* of the failed span that says most; "" if none failed */
} StoreDbTrace;

/* Calls @fn for the newest traces that pass @filter, newest first. A negative return of @fn ends it and is returned. */
int storedb_traces(StoreDb *db, const StoreDbFilter *filter, int (*fn)(const StoreDbTrace *trace, void *userdata),
                   void *userdata);

/* The traces whose id begins with the @len hex digits at @prefix, at most @max. Returns how many there are in @ret, or
 * a negative errno. */
int storedb_by_prefix(StoreDb *db, const char *prefix, size_t len, size_t max, uint8_t (*ret)[16]);

/* The newest trace of the start of @pod (as in the filter), else the newest that mentions it. 0, -ENOENT, or a negative
 * errno. */
int storedb_by_pod(StoreDb *db, const char *pod, uint8_t ret[static 16]);

/* How many different spans the trace has. */
int storedb_count(StoreDb *db, const uint8_t trace_id[static 16], uint64_t *ret);

typedef struct StoreDbSpan {
        uint8_t span_id[8];
        uint8_t parent_id[8];
        bool has_parent;
        uint64_t start_ns;
        uint64_t end_ns;
        int kind;
        Outcome outcome;
        StoreDbVerdict verdict;
        uint32_t flags;
        int64_t batch;
        const char *why;  /* "" with OUTCOME_OK */
        const char *name; /* "" where unknown; valid within the callback */
        const char *service;
        const char *pod_uid;
        const char *pod_name;
        const char *pod_namespace;
        const char *container_name;
        const char *container_id;
} StoreDbSpan;

/* Calls @fn for at most @max spans of the trace by start, each once (of several copies the one stored last). */
int storedb_spans(StoreDb *db, const uint8_t trace_id[static 16], uint64_t max,
                  int (*fn)(const StoreDbSpan *span, void *userdata), void *userdata);

/*
 * Calls @fn for each batch that holds spans of the trace, in the order of arrival, with its serialized TracesData,
 * which is valid within the callback. Batches above STOREDB_BATCH_MAX are left out.
 */
int storedb_batches(StoreDb *db, const uint8_t trace_id[static 16],
                    int (*fn)(int64_t batch, const uint8_t *data, size_t len, void *userdata), void *userdata);

/* Is this the batch to take the span from, i.e. the last that holds it? 1, 0, or a negative errno. */
int storedb_is_latest(StoreDb *db, const uint8_t trace_id[static 16], const uint8_t span_id[static 8], int64_t batch);

/* What became of every span that podspand took in since the store was made (storeschema.h). */
typedef struct StoreDbLedger {
        int64_t in;
        int64_t exported;
        int64_t local;
        int64_t rejected;
        int64_t refused;
        int64_t retention;
        int64_t too_large;
        int64_t invalid;
        int64_t store_full;
} StoreDbLedger;

/* Those that got neither to the collector nor, for good, to the store. */
int64_t storedb_dropped(const StoreDbLedger *ledger);

typedef struct StoreDbStats {
        uint64_t n_batches[4]; /* by state */
        uint64_t n_spans[4];
        uint64_t n_bytes[4];
        uint64_t oldest_ns; /* received; 0: the store is empty */
        uint64_t newest_ns;
        uint64_t oldest_pending_ns; /* 0: nothing pending */
        uint64_t n_kept;            /* traces a tail rule chose */
        uint64_t file_bytes;        /* database and write-ahead log */
        StoreDbLedger ledger;
} StoreDbStats;

/* All figures are of one moment. */
int storedb_stats(StoreDb *db, StoreDbStats *ret);

/* Calls @fn for each row of the table meta, as text. */
int storedb_meta(StoreDb *db, int (*fn)(const char *key, const char *value, void *userdata), void *userdata);
