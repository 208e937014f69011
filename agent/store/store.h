#pragma once

/*
 * Store
 *
 * What the agent does with STORE/podspan.db (docs/store.md): batches and their rows in, the export queue out,
 * retention. Single-threaded. Changes happen between store_begin() and store_commit(): one transaction per turn, of
 * many files.
 *
 * Functions return 0 or what they say, and negative errnos: -ENOSPC (disk or quota full), -EUCLEAN (the file is
 * damaged: close, move aside, begin anew), -EBUSY, -ENOMEM, -EROFS, -EIO. After one of these inside a transaction,
 * store_rollback().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ingest.h"
#include "storefile.h"
#include "storeschema.h"

#define STORE_TEXT_MAX      512   /* bytes of a text column; longer is cut there, the batch holds the whole */
#define STORE_RETAIN_MAX    64    /* batches one turn's retention removes at most */
#define STORE_KEEP_MAX      65536 /* traces in the keep table; the oldest go */
#define STORE_STOP_MAX      65536 /* stops remembered; the oldest go */
#define STORE_UNDECIDED_MAX 16384 /* ends of containers that wait for their stop call */
#define STORE_PRESSURE_MAX  65536 /* rows of pressure remembered; the oldest go */
#define STORE_PRESSURE_N    6     /* columns of such a row: some and full of cpu, io, memory */
#define STORE_LIST_MAX      1024  /* batches one store_pending_list() gives */

typedef struct Store Store;

typedef struct StoreLimits {
        uint64_t max_size; /* bytes of pages in use */
        uint64_t max_age_ns;
        uint32_t min_free_percent; /* of the file system, below which nothing is stored */
} StoreLimits;

typedef struct StoreBatch {
        int64_t id;
        uint64_t received_ns;
        size_t n_spans;
        size_t size;
} StoreBatch;

/* What retention did. */
typedef struct StoreRetained {
        size_t n_batches;
        size_t n_spans;
        size_t n_spans_pending; /* of them not exported yet: to be counted as dropped */
        bool more;              /* the bound was hit: there is more to remove */
} StoreRetained;

/* As storefile_open(), with a store owned by the caller. */
int store_open(const char *dir, const StoreLimits *limits, Store **ret, char **ret_aside);
Store *store_free(Store *store);
DEFINE_CLEANUP(Store *, store_free);

/* Other bounds than it was opened with: for the next store_retain() and store_disk_low(). */
void store_set_limits(Store *store, const StoreLimits *limits);

/* SQLite's words for the last error. */
const char *store_error(const Store *store);

int store_begin(Store *store);
int store_commit(Store *store);
void store_rollback(Store *store);

/* Spool files whose spans are committed but which may not be unlinked yet: after a kill in between they are read no
 * second time. */
int store_file_known(Store *store, const char *name); /* 1: yes, 0: no */
int store_file_add(Store *store, const char *name);
int store_file_forget(Store *store, const char *name);

/* A new batch's number; its rows may be written before the batch is. */
int64_t store_batch_next(Store *store);
/* Enters a container's end as a death, too. */
int store_span_add(Store *store, int64_t batch, const IngestRow *row);
int store_batch_add(Store *store, const StoreBatch *batch, int state, const uint8_t *traces);

/* Pending batches, the newest first, at most @max (STORE_LIST_MAX) into @ret. Returns how many. */
int store_pending_list(Store *store, size_t max, StoreBatch *ret);
/* Calls @fn with the batch's bytes, valid during the call. Returns what it returns, -ENOENT where it is gone. */
int store_batch_read(Store *store, int64_t id, int (*fn)(const uint8_t *data, size_t size, void *userdata),
                     void *userdata);
/* Enters what became of a pending batch, also in the ledger. */
int store_batch_set_state(Store *store, int64_t id, int state);

/*
 * The keep table. store_keep_add() changes nothing where the trace is there (returns 0, else 1). store_keep_find()
 * gives the reason (static) or NULL.
 */
int store_keep_add(Store *store, const uint8_t *trace_id, const char *reason, uint64_t now_ns);
int store_keep_find(Store *store, const uint8_t *trace_id, const char **ret_reason);

/*
 * Traces that were chosen after spans of them had been stored. store_promote_next() finds one (1, or 0) and
 * store_promote_batches() local batches that hold spans of it which are in no other batch yet; returns how many (at
 * most @max). store_promote_done() when there are no more.
 */
int store_promote_next(Store *store, uint8_t *ret_trace_id, const char **ret_reason);
int store_promote_batches(Store *store, const uint8_t *trace_id, size_t max, int64_t *ret);
int store_promote_done(Store *store, const uint8_t *trace_id);

/* A stop of kind @kind, begun at @began_ns, of the container or sandbox @id. @grace_ms: negative where not known. */
int store_stop_add(Store *store, const char *id, OutcomeStop kind, uint64_t began_ns, VerdictStop method,
                   int64_t grace_ms);
/* Is there one that makes @outcome, an end at @end_ns, no failure? @container_id and @sandbox_id may be NULL. 1 or 0.
 */
int store_stop_excuses(Store *store, Outcome outcome, const char *container_id, const char *sandbox_id,
                       uint64_t end_ns);

/* An end of a container of which it is open whether it is a failure. */
typedef struct StoreUndecided {
        int64_t id;
        uint8_t trace_id[TRACECONTEXT_TRACE_ID_SIZE];
        Outcome outcome;
        char container_id[STORE_TEXT_MAX + 1]; /* "" where not known */
        char sandbox_id[STORE_TEXT_MAX + 1];
        uint64_t end_ns;
} StoreUndecided;

/* Enters @row, to be decided at @due_ns. Returns 1, 0 where STORE_UNDECIDED_MAX wait already, or a negative errno. */
int store_undecided_add(Store *store, const IngestRow *row, uint64_t due_ns);
/* The one that is due longest at @now_ns. 1, 0 where none is, or a negative errno. */
int store_undecided_next(Store *store, uint64_t now_ns, StoreUndecided *ret);
int store_undecided_remove(Store *store, int64_t id);

/* How many microseconds tasks waited in the @seconds before @at_ns; negative: not known. */
int store_pressure_add(Store *store, uint64_t at_ns, uint32_t seconds, const int32_t us[static STORE_PRESSURE_N]);

/* Adds @n to the ledger's @key (STORESCHEMA_LEDGER_*). store_batch_set_state() and store_retain() keep it themselves.
 */
int store_ledger_add(Store *store, const char *key, int64_t n);

/*
 * Removes what is too old or too much, exported and local batches first, then pending ones; at most STORE_RETAIN_MAX
 * batches. @spare: ids in an export under way, which stay.
 */
int store_retain(Store *store, uint64_t now_ns, const int64_t *spare, size_t n_spare, StoreRetained *ret);
/* Would store_retain() do anything? 1 or 0. */
int store_retain_due(Store *store, uint64_t now_ns);

/* Is the file system below the free bound? 1 or 0. */
int store_disk_low(const Store *store);

/* Facts for `podspan status` (docs/store.md). */
int store_meta_text(Store *store, const char *key, const char *value);
int store_meta_number(Store *store, const char *key, uint64_t value);
/* Enters where spans go. What was known of the export to another place is forgotten. */
int store_meta_endpoint(Store *store, const char *endpoint);
