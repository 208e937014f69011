#pragma once

/*
 * Store schema
 *
 * The tables of STORE/podspan.db, written by podspand, read by podspan (docs/store.md says what each column means).
 * Kept here because both layers need the very same text; SQLite itself is known only to them.
 */

#define STORESCHEMA_FILE    "podspan.db"
#define STORESCHEMA_VERSION 3

/* batch.state */
#define STORESCHEMA_STATE_LOCAL    0 /* not to be exported (not sampled, not kept, or no collector) */
#define STORESCHEMA_STATE_PENDING  1 /* waits for the exporter */
#define STORESCHEMA_STATE_EXPORTED 2
#define STORESCHEMA_STATE_REFUSED  3 /* the collector answered with a status that is not retried */

/*
 * ledger.key: what became of every span that podspand took in. in = exported + local + the spans of pending batches +
 * the six others, at each commit, whatever was killed when.
 */
#define STORESCHEMA_LEDGER_IN         "in"
#define STORESCHEMA_LEDGER_EXPORTED   "exported"
#define STORESCHEMA_LEDGER_LOCAL      "local"
#define STORESCHEMA_LEDGER_REJECTED   "rejected"   /* by the collector, in a partial success */
#define STORESCHEMA_LEDGER_REFUSED    "refused"    /* by the collector, with an answer that is not retried */
#define STORESCHEMA_LEDGER_RETENTION  "retention"  /* removed by the store's bounds before they were exported */
#define STORESCHEMA_LEDGER_TOO_LARGE  "too_large"  /* above what a collector takes in one message */
#define STORESCHEMA_LEDGER_INVALID    "invalid"    /* without valid ids or times, or beyond the bounds of a file */
#define STORESCHEMA_LEDGER_STORE_FULL "store_full" /* the disk was too full */

/* keep.reason, and the value of the span attribute podspan.kept */
#define STORESCHEMA_KEEP_ERROR "error"
#define STORESCHEMA_KEEP_SLOW  "slow"

/* What version 2 has besides new columns. */
#define STORESCHEMA_SQL_2                                   \
        "CREATE TABLE stop ("                               \
        " id TEXT NOT NULL,"                                \
        " kind INTEGER NOT NULL,"                           \
        " began_ns INTEGER NOT NULL,"                       \
        " PRIMARY KEY (id, kind, began_ns)) WITHOUT ROWID;" \
        "CREATE INDEX stop_began ON stop(began_ns);"        \
        "CREATE TABLE undecided ("                          \
        " id INTEGER PRIMARY KEY,"                          \
        " trace_id BLOB NOT NULL,"                          \
        " outcome INTEGER NOT NULL,"                        \
        " container_id TEXT,"                               \
        " sandbox_id TEXT,"                                 \
        " end_ns INTEGER NOT NULL,"                         \
        " due_ns INTEGER NOT NULL);"                        \
        "CREATE INDEX undecided_due ON undecided(due_ns);"  \
        "CREATE TABLE ledger (key TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;"

/*
 * What version 3 has besides. Version 2 becomes 3 by it as well: a new store is made as version 2 and then this. The
 * numbers are those of enum VerdictStop and enum Verdict.
 */
#define STORESCHEMA_SQL_3                                                                             \
        "ALTER TABLE stop ADD COLUMN method INTEGER NOT NULL DEFAULT 0;"                              \
        "ALTER TABLE stop ADD COLUMN grace_ms INTEGER;"                                               \
        "CREATE TABLE death ("                                                                        \
        " container_id TEXT NOT NULL,"                                                                \
        " end_ns INTEGER NOT NULL,"                                                                   \
        " start_ns INTEGER NOT NULL,"                                                                 \
        " sandbox_id TEXT,"                                                                           \
        " pod_uid TEXT,"                                                                              \
        " pod_name TEXT,"                                                                             \
        " pod_namespace TEXT,"                                                                        \
        " container_name TEXT,"                                                                       \
        " trace_id BLOB NOT NULL,"                                                                    \
        " span_id BLOB NOT NULL,"                                                                     \
        " batch INTEGER NOT NULL REFERENCES batch(id) ON DELETE CASCADE,"                             \
        " verdict INTEGER NOT NULL,"                                                                  \
        " PRIMARY KEY (container_id, end_ns, batch)) WITHOUT ROWID;"                                  \
        "CREATE INDEX death_end ON death(end_ns);"                                                    \
        "CREATE INDEX death_pod ON death(pod_uid, end_ns) WHERE pod_uid IS NOT NULL;"                 \
        "CREATE INDEX death_batch ON death(batch);"                                                   \
        "CREATE INDEX span_container ON span(container_id, start_ns) WHERE container_id IS NOT NULL;" \
        "CREATE INDEX span_call ON span(name, start_ns, end_ns, outcome, pod_uid, pod_name,"          \
        " pod_namespace, container_name) WHERE kind = 2;"                                             \
        "CREATE INDEX span_failed ON span(start_ns) WHERE outcome = 1;"                               \
        "CREATE TABLE pressure ("                                                                     \
        " at_ns INTEGER PRIMARY KEY,"                                                                 \
        " seconds INTEGER NOT NULL,"                                                                  \
        " cpu_some_us INTEGER,"                                                                       \
        " cpu_full_us INTEGER,"                                                                       \
        " io_some_us INTEGER,"                                                                        \
        " io_full_us INTEGER,"                                                                        \
        " memory_some_us INTEGER,"                                                                    \
        " memory_full_us INTEGER);"

/*
 * Is the id of the row @t that of @id, or the begin of it? Runtimes take the begin of an id of 64 digits, and crictl
 * shows 13 of them. Both limits are for the index.
 */
#define STORESCHEMA_SAME_ID(t, id)                                                                 \
        "(" t ".id BETWEEN substr(" id ", 1, 12) AND " id " AND (" t ".id = " id " OR (length(" id \
        ") = 64 AND length(" t ".id) >= 12 AND substr(" id ", 1, length(" t ".id)) = " t ".id)))"

/*
 * Does the row of table stop (or of one like it) called @t make an end of a container no failure? By its outcome, its
 * ids (NULL: not known) and its time; as outcome_excused(). What kills one container says nothing about the others of
 * its sandbox.
 */
#define STORESCHEMA_EXCUSED(t, outcome, container, sandbox, end)                                                     \
        "((" STORESCHEMA_SAME_ID(t, container) " AND (" t ".kind = 2 OR " outcome " = 3)) OR (" STORESCHEMA_SAME_ID( \
                t, sandbox) " AND " t ".kind = 2)) AND " outcome " IN (2, 3) AND " t ".began_ns <= " end

/*
 * Version 1 becomes 2. What ended how is in the batches; here the status is taken for it, as version 1 did. Of the
 * ledger what the store still holds is known.
 */
#define STORESCHEMA_SQL_1_TO_2                                                                                         \
        "ALTER TABLE span ADD COLUMN sandbox_id TEXT;"                                                                 \
        "ALTER TABLE span ADD COLUMN outcome INTEGER NOT NULL DEFAULT 0;"                                              \
        "ALTER TABLE span ADD COLUMN why TEXT;" STORESCHEMA_SQL_2                                                      \
        "UPDATE span SET outcome = CASE WHEN name IN ('container', 'wait_for_exit_code') AND container_id IS NOT NULL" \
        " THEN 2 ELSE 1 END, why = 'stored by an earlier podspand' WHERE status = 2;"                                  \
        "INSERT OR IGNORE INTO stop SELECT container_id, 2, start_ns FROM span WHERE container_id IS NOT NULL"         \
        " AND (name LIKE '%/StopContainer' OR name LIKE '%/RemoveContainer');"                                         \
        "INSERT INTO ledger SELECT 'in', coalesce(sum(n_spans), 0) FROM batch;"                                        \
        "INSERT INTO ledger SELECT 'local', coalesce(sum(n_spans), 0) FROM batch WHERE state = 0;"                     \
        "INSERT INTO ledger SELECT 'exported', coalesce(sum(n_spans), 0) FROM batch WHERE state = 2;"                  \
        "INSERT INTO ledger SELECT 'refused', coalesce(sum(n_spans), 0) FROM batch WHERE state = 3;"                   \
        "UPDATE meta SET value = 2 WHERE key = 'schema';"

/*
 * Version 2 becomes 3. Which method stopped is asked of the spans. An earlier podspand's ends have no verdict; those of
 * what was executed in a container are in traces with a runtime's `exec`.
 */
#define STORESCHEMA_SQL_2_TO_3                                                                                 \
        STORESCHEMA_SQL_3                                                                                      \
        "UPDATE stop SET method = CASE kind WHEN 1 THEN 2 ELSE coalesce((SELECT CASE"                          \
        " WHEN name LIKE '%/StopContainer' THEN 3 WHEN name LIKE '%/StopPodSandbox' THEN 4"                    \
        " WHEN name LIKE '%/RemoveContainer' THEN 5 WHEN name LIKE '%/RemovePodSandbox' THEN 6 END"            \
        " FROM span WHERE start_ns = began_ns AND (container_id = stop.id OR sandbox_id = stop.id)"            \
        " AND (name LIKE '%/Stop%' OR name LIKE '%/Remove%') LIMIT 1), 0) END;"                                \
        "INSERT OR IGNORE INTO death SELECT container_id, end_ns, start_ns, sandbox_id, pod_uid, pod_name,"    \
        " pod_namespace, container_name, trace_id, span_id, batch, 0 FROM span WHERE container_id IS NOT NULL" \
        " AND (name = 'container' OR (name = 'wait_for_exit_code' AND NOT EXISTS"                              \
        " (SELECT 1 FROM span e WHERE e.trace_id = span.trace_id AND e.name LIKE '% exec')));"                 \
        "UPDATE meta SET value = 3 WHERE key = 'schema';"

#define STORESCHEMA_SQL                                                                                \
        "CREATE TABLE batch ("                                                                         \
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                       \
        " received_ns INTEGER NOT NULL,"                                                               \
        " state INTEGER NOT NULL,"                                                                     \
        " n_spans INTEGER NOT NULL,"                                                                   \
        " size INTEGER NOT NULL,"                                                                      \
        " traces BLOB NOT NULL);"                                                                      \
        "CREATE INDEX batch_pending ON batch(id) WHERE state = 1;"                                     \
        "CREATE INDEX batch_settled ON batch(id) WHERE state <> 1;"                                    \
        "CREATE TABLE span ("                                                                          \
        " batch INTEGER NOT NULL REFERENCES batch(id) ON DELETE CASCADE,"                              \
        " trace_id BLOB NOT NULL,"                                                                     \
        " span_id BLOB NOT NULL,"                                                                      \
        " parent_id BLOB,"                                                                             \
        " start_ns INTEGER NOT NULL,"                                                                  \
        " end_ns INTEGER NOT NULL,"                                                                    \
        " kind INTEGER NOT NULL,"                                                                      \
        " status INTEGER NOT NULL,"                                                                    \
        " flags INTEGER NOT NULL,"                                                                     \
        " name TEXT NOT NULL,"                                                                         \
        " service TEXT,"                                                                               \
        " pod_uid TEXT,"                                                                               \
        " pod_name TEXT,"                                                                              \
        " pod_namespace TEXT,"                                                                         \
        " container_name TEXT,"                                                                        \
        " container_id TEXT,"                                                                          \
        " sandbox_id TEXT,"                                                                            \
        " outcome INTEGER NOT NULL DEFAULT 0,"                                                         \
        " why TEXT,"                                                                                   \
        " PRIMARY KEY (trace_id, span_id, batch)) WITHOUT ROWID;"                                      \
        "CREATE INDEX span_batch ON span(batch);"                                                      \
        "CREATE INDEX span_start ON span(start_ns);"                                                   \
        "CREATE INDEX span_pod ON span(pod_uid, start_ns) WHERE pod_uid IS NOT NULL;"                  \
        "CREATE TABLE keep ("                                                                          \
        " trace_id BLOB PRIMARY KEY,"                                                                  \
        " reason TEXT NOT NULL,"                                                                       \
        " decided_ns INTEGER NOT NULL,"                                                                \
        " promoted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"                                         \
        "CREATE INDEX keep_unpromoted ON keep(trace_id) WHERE promoted = 0;"                           \
        "CREATE INDEX keep_decided ON keep(decided_ns);"                                               \
        "CREATE TABLE file (name TEXT PRIMARY KEY) WITHOUT ROWID;" STORESCHEMA_SQL_2 STORESCHEMA_SQL_3 \
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
