#pragma once

/*
 * Store schema
 *
 * The tables of STORE/podspan.db, written by podspand, read by podspan (docs/store.md says what each column means).
 * Kept here because both layers need the very same text; SQLite itself is known only to them.
 */

#define STORESCHEMA_FILE    "podspan.db"
#define STORESCHEMA_VERSION 1

/* batch.state */
#define STORESCHEMA_STATE_LOCAL    0 /* not to be exported (not sampled, not kept, or no collector) */
#define STORESCHEMA_STATE_PENDING  1 /* waits for the exporter */
#define STORESCHEMA_STATE_EXPORTED 2
#define STORESCHEMA_STATE_REFUSED  3 /* the collector answered with a status that is not retried */

/* keep.reason, and the value of the span attribute podspan.kept */
#define STORESCHEMA_KEEP_ERROR "error"
#define STORESCHEMA_KEEP_SLOW  "slow"

#define STORESCHEMA_SQL                                                               \
        "CREATE TABLE batch ("                                                        \
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"                                      \
        " received_ns INTEGER NOT NULL,"                                              \
        " state INTEGER NOT NULL,"                                                    \
        " n_spans INTEGER NOT NULL,"                                                  \
        " size INTEGER NOT NULL,"                                                     \
        " traces BLOB NOT NULL);"                                                     \
        "CREATE INDEX batch_pending ON batch(id) WHERE state = 1;"                    \
        "CREATE INDEX batch_settled ON batch(id) WHERE state <> 1;"                   \
        "CREATE TABLE span ("                                                         \
        " batch INTEGER NOT NULL REFERENCES batch(id) ON DELETE CASCADE,"             \
        " trace_id BLOB NOT NULL,"                                                    \
        " span_id BLOB NOT NULL,"                                                     \
        " parent_id BLOB,"                                                            \
        " start_ns INTEGER NOT NULL,"                                                 \
        " end_ns INTEGER NOT NULL,"                                                   \
        " kind INTEGER NOT NULL,"                                                     \
        " status INTEGER NOT NULL,"                                                   \
        " flags INTEGER NOT NULL,"                                                    \
        " name TEXT NOT NULL,"                                                        \
        " service TEXT,"                                                              \
        " pod_uid TEXT,"                                                              \
        " pod_name TEXT,"                                                             \
        " pod_namespace TEXT,"                                                        \
        " container_name TEXT,"                                                       \
        " container_id TEXT,"                                                         \
        " PRIMARY KEY (trace_id, span_id, batch)) WITHOUT ROWID;"                     \
        "CREATE INDEX span_batch ON span(batch);"                                     \
        "CREATE INDEX span_start ON span(start_ns);"                                  \
        "CREATE INDEX span_pod ON span(pod_uid, start_ns) WHERE pod_uid IS NOT NULL;" \
        "CREATE TABLE keep ("                                                         \
        " trace_id BLOB PRIMARY KEY,"                                                 \
        " reason TEXT NOT NULL,"                                                      \
        " decided_ns INTEGER NOT NULL,"                                               \
        " promoted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"                        \
        "CREATE INDEX keep_unpromoted ON keep(trace_id) WHERE promoted = 0;"          \
        "CREATE INDEX keep_decided ON keep(decided_ns);"                              \
        "CREATE TABLE file (name TEXT PRIMARY KEY) WITHOUT ROWID;"                    \
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
