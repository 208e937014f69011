#pragma once

/*
 * Intake
 *
 * One transaction of the store: the spans of many spool files, gathered in batches that are wholly to be exported or
 * wholly not, their rows, the tail rules' decisions and what these promote. Knows no directory: it is given bytes.
 * Numbers are counted only when the transaction has been committed.
 */

#include "counters.h"
#include "ingest.h"
#include "store.h"
#include "tail.h"

#define INTAKE_BATCH_SIZE \
        (256U * 1024)         /* bytes a stored batch should have: small, as reading a trace reads its batches */
#define INTAKE_PROMOTE_MAX 16 /* local batches one turn promotes from */
/* Bytes of batches that one turn makes; the file or batch that exceeds it is the turn's last one. */
#define INTAKE_MADE_MAX (16U * 1024 * 1024)

typedef struct Intake Intake;

typedef struct IntakeSettings {
        IngestSettings ingest;
        TailRules rules;
        bool exports; /* false: everything is local */
        TailStopping stopping;
} IntakeSettings;

/* @counters is borrowed, may be NULL. Returns 0, or as ingest_new(). */
int intake_new(const IntakeSettings *settings, Counters *counters, Intake **ret);
Intake *intake_free(Intake *intake);
DEFINE_CLEANUP(Intake *, intake_free);

/* The counters' file was made anew. */
void intake_set_counters(Intake *intake, Counters *counters);

/* Begins a turn at wall clock @now_ns. After any negative return up to intake_commit(): intake_rollback(). */
int intake_begin(Intake *intake, Store *store, uint64_t now_ns);

/*
 * Takes in one file. Returns 0, also where its content is refused (counted, and said in @ret_refused: 0, -EBADMSG or
 * -E2BIG), or a negative errno of the store.
 */
int intake_add(Intake *intake, const uint8_t *data, size_t size, int *ret_refused);

/* Counts spans that never get into the store: those of a file that cannot be taken because the disk is too full. */
int intake_refuse(Intake *intake, const uint8_t *data, size_t size);

/* Counts a file that was read, or was no spool file. */
void intake_count_file(Intake *intake, bool good);

/* Promotes, commits, counts. With 0, @ret_more says that there is more to promote: another turn is due. */
int intake_commit(Intake *intake, bool *ret_more);
void intake_rollback(Intake *intake);

/* Bytes that the turn has made so far, of all batches; a file adds at most INGEST_MADE_MAX. */
size_t intake_made_bytes(const Intake *intake);

/* Bytes of batches to be exported that the last turn committed. */
size_t intake_committed_bytes(const Intake *intake);
