#pragma once

/*
 * Deaths in the store
 *
 * The queries behind `podspan exits` and `podspan why` (docs/store.md). Every query uses an index or a bounded walk of
 * one. Strings that callbacks get are valid within the callback.
 */

#include "storedb.h"
#include "verdict.h"

#define DEATHDB_SPANS_MAX 4096 /* spans of one pod or container that are looked at */

/* One end of a container as the store's table `death` has it. Strings are never NULL. */
typedef struct Death {
        const char *container_id;
        const char *sandbox_id;
        const char *pod_uid;
        const char *pod_name;
        const char *pod_namespace;
        const char *container_name;
        uint64_t start_ns;
        uint64_t end_ns;
        uint8_t trace_id[16];
        uint8_t span_id[8];
        int64_t batch;
        Verdict emitted;
} Death;

typedef int (*DeathFn)(const Death *death, void *userdata);

typedef struct DeathFilter {
        uint64_t since_ns;     /* ended at or after; 0: no bound */
        uint64_t until_ns;     /* ended at or before; 0: no bound */
        const char *pod;       /* name, namespace/name, UID or the begin of a sandbox's id; NULL: any */
        const char *pod_uid;   /* this pod exactly; NULL: any */
        const char *container; /* name, or the begin of an id; NULL: any */
        const char *any;       /* what `pod` or `container` takes; NULL: any */
        uint32_t emitted;      /* bits 1 << Verdict; 0: any */
} DeathFilter;

/*
 * Calls @fn for the deaths that pass @filter, newest first, until it returns something else than 0, which is returned
 * then. Several records of one death are one: those of one container whose lives overlap; the newest with a verdict is
 * taken.
 */
int deathdb_list(StoreDb *db, const DeathFilter *filter, DeathFn fn, void *userdata);

/* A span's row, for calls. */
typedef struct DeathCall {
        const char *name; /* in full */
        const char *container_name;
        const char *container_id;
        const char *sandbox_id;
        const char *pod_uid;
        const char *pod_name;
        const char *pod_namespace;
        const char *why;
        uint64_t start_ns;
        uint64_t end_ns;
        uint8_t trace_id[16];
        uint8_t span_id[8];
        int64_t batch;
        Outcome outcome;
} DeathCall;

typedef int (*DeathCallFn)(const DeathCall *call, void *userdata);

/*
 * Calls @fn for the spans of the pod @uid that began in [@since_ns, @until_ns], newest or oldest first, at most
 * DEATHDB_SPANS_MAX of them, until it returns something else than 0.
 */
int deathdb_pod_spans(StoreDb *db, const char *uid, uint64_t since_ns, uint64_t until_ns, bool newest_first,
                      DeathCallFn fn, void *userdata);

/* The same of the container @id, newest first. */
int deathdb_container_spans(StoreDb *db, const char *id, uint64_t since_ns, uint64_t until_ns, DeathCallFn fn,
                            void *userdata);

/* Calls @fn for failed spans of any pod that ended before @until_ns and began at or after @since_ns, newest first. */
int deathdb_failed_spans(StoreDb *db, uint64_t since_ns, uint64_t until_ns, DeathCallFn fn, void *userdata);

/*
 * Calls @fn for each stop of the container or its sandbox that began at or before @until_ns: in the store, and in
 * flight (storedb_add_stops()). @grace_ms is negative where it is not known.
 */
int deathdb_stops(StoreDb *db, const char *container_id, const char *sandbox_id, uint64_t until_ns,
                  void (*fn)(VerdictStop stop, uint64_t began_ns, int64_t grace_ms, void *userdata), void *userdata);

/* When a stop call for the sandbox began, the first one at or after @since_ns; 0: none. */
int deathdb_sandbox_stop(StoreDb *db, const char *sandbox_id, uint64_t since_ns, uint64_t *ret_ns);

/* What a second of pressure says; negative: not known. */
typedef struct DeathPressure {
        uint64_t seconds; /* covered */
        int64_t cpu_some_us, cpu_full_us, io_some_us, io_full_us, memory_some_us, memory_full_us;
} DeathPressure;

/* The sum over [@since_ns, @until_ns]. Returns 0, -ENOENT if there is nothing, or another negative errno. */
int deathdb_pressure(StoreDb *db, uint64_t since_ns, uint64_t until_ns, DeathPressure *ret);

/* The bytes of a batch, valid within the call of @fn. Returns what @fn does, -ENOENT, or another negative errno. */
int deathdb_batch(StoreDb *db, int64_t batch, int (*fn)(const uint8_t *traces, size_t size, void *userdata),
                  void *userdata);

/* The newest span that mentions the pod or container, of the newest @max spans. 0, -ENOENT, or a negative errno. */
int deathdb_seen(StoreDb *db, const char *what, unsigned max, DeathCallFn fn, void *userdata);
