#pragma once

/*
 * Ingest
 *
 * From the bytes of one spool file to what the store takes: one row per valid span, and the spans encoded anew in
 * batches which are wholly to be exported or wholly not. On the way the resource gets what only the node's agent knows
 * (host.name, k8s.node.name, telemetry.sdk.*, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME). No I/O: the caller hands
 * bytes in and takes chunks out. Fields that podspan does not know are carried along.
 *
 * Everything in a spool file is hostile until it is here: an invalid span is dropped and counted and the rest is kept;
 * what is no UTF-8 is repaired, as one bad string would make a collector refuse a whole export.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "outcome.h"
#include "tracecontext.h"
#include "util.h"
#include "verdict.h"

#define INGEST_SPANS_MAX  16384        /* of one file; the others are dropped and counted */
#define INGEST_ITEMS_MAX  128          /* attributes, events and links of a span each; OTLP's dropped_*_count says so */
#define INGEST_VALUE_MAX  (16U * 1024) /* bytes of a string; of an attribute's encoded value, which is dropped above */
#define INGEST_DEPTH_MAX  32           /* nested messages */
#define INGEST_MEMORY_MAX (24U * 1024 * 1024) /* of one file, decoded */
#define INGEST_CHUNK_MAX  (4U * 1024 * 1024)  /* bytes of a chunk: what a collector takes in one message */
/*
 * Encoded bytes of a resource, and of a scope, without their spans. Every chunk repeats them, so the largest attributes
 * of a larger resource are dropped, and OTLP's dropped_attributes_count says so.
 */
#define INGEST_ENVELOPE_MAX (64U * 1024)
#define INGEST_MADE_MAX     (32U * 1024 * 1024) /* bytes of all chunks of one file; spans beyond are dropped */
#define INGEST_PAIRS_MAX    64                  /* of OTEL_RESOURCE_ATTRIBUTES */

typedef enum IngestTarget {
        INGEST_LOCAL,  /* for the store alone */
        INGEST_EXPORT, /* to be exported, too */
        INGEST_SKIP,   /* neither */
} IngestTarget;

typedef struct Ingest Ingest;

/* Strings are NULL where not known, else valid until the next ingest_parse(). */
typedef struct IngestRow {
        uint8_t trace_id[TRACECONTEXT_TRACE_ID_SIZE];
        uint8_t span_id[TRACECONTEXT_SPAN_ID_SIZE];
        uint8_t parent_id[TRACECONTEXT_SPAN_ID_SIZE];
        bool has_parent;
        int32_t kind;
        int32_t status;
        uint32_t flags; /* bit 0: sampled */
        uint64_t start_ns;
        uint64_t end_ns; /* both fit a signed 64-bit number */
        const char *name;
        const char *service;
        const char *pod_uid;
        const char *pod_name;
        const char *pod_namespace;
        const char *container_name;
        const char *container_id;
        const char *sandbox_id;
        Outcome outcome;     /* by the span alone: OUTCOME_EXITED and OUTCOME_KILLED wait for the stop calls */
        const char *why;     /* outcome_why(), NULL with OUTCOME_OK */
        OutcomeStop stop;    /* does it stop a container */
        const char *stop_id; /* … this one, or all of this sandbox; NULL where it does not say */
        VerdictStop stop_method;
        int64_t grace_ms; /* negative: not known */
        bool death;       /* a container's end, not that of something executed in it */
        Verdict verdict;  /* then what its emitter decided, VERDICT_UNKNOWN where it says none */

        /* The caller's to change before ingest_encode(). */
        IngestTarget target; /* by the sampled flag */
        const char *kept;    /* NULL, or why a tail rule exports it: becomes podspan.kept */

        struct IngestPlace *place;
} IngestRow;

typedef struct IngestSettings {
        const char *host_name;           /* "": none */
        const char *node_name;           /* likewise */
        const char *service_name;        /* OTEL_SERVICE_NAME; "": each program's own */
        const char *resource_attributes; /* OTEL_RESOURCE_ATTRIBUTES */
        /* Bytes a chunk should have at most. A larger span goes alone, up to INGEST_CHUNK_MAX. Where a resource alone
         * is more than a quarter of it, chunks get four times the resource's size: less would be mostly repetition. */
        size_t chunk_max;
} IngestSettings;

/*
 * A chunk: @n_rows spans of one target as one serialized TracesData. What it points to is valid during the call.
 * A negative return ends ingest_encode() with it.
 */
typedef int (*IngestChunkFn)(IngestTarget target, const uint8_t *data, size_t size, const IngestRow *rows,
                             size_t n_rows, void *userdata);

/* Copies what it needs of @settings. Returns 0, -EINVAL where resource_attributes cannot be parsed, or -ENOMEM. */
int ingest_new(const IngestSettings *settings, Ingest **ret);
Ingest *ingest_free(Ingest *ingest);
DEFINE_CLEANUP(Ingest *, ingest_free);

/*
 * Takes in the @size bytes at @data (copied). Returns 0 with the rows of the valid spans in the file's order, owned by
 * @ingest until the next call, and the number of those that were invalid or beyond INGEST_SPANS_MAX; -EBADMSG if it is
 * no TracesData, -E2BIG if its content would need more than INGEST_MEMORY_MAX or nests too deep, -ENOMEM.
 */
int ingest_parse(Ingest *ingest, const uint8_t *data, size_t size, IngestRow **ret_rows, size_t *ret_n,
                 size_t *ret_n_invalid);

/*
 * Encodes the rows of @target, in the order of the file, and hands them to @fn in chunks. Call it once per target and
 * file. Returns 0 with the number of spans that were left out, being too large even alone or beyond INGEST_MADE_MAX;
 * -ENOMEM; or what @fn returned.
 */
int ingest_encode(Ingest *ingest, IngestTarget target, IngestChunkFn fn, void *userdata, size_t *ret_n_too_large);
