#pragma once

/*
 * Starts in the store
 *
 * The queries behind `podspan why --start` (docs/store.md). Each one uses an index and is bounded. Strings that
 * callbacks get are valid within the callback. Functions return 0, or a negative errno, unless said otherwise.
 */

#include "outcome.h"
#include "storedb.h"

#define STARTDB_SPAN_NS   (60ULL * 60 * NSEC_PER_SEC) /* a start is looked for within this, from its first call */
#define STARTDB_CALLS_MAX 4096                        /* calls of one method that are compared, the newest */

typedef struct StartRow {
        uint8_t trace_id[16];
        uint8_t span_id[8];
        uint8_t parent_id[8];
        bool has_parent;
        int kind; /* OTLP's */
        int64_t batch;
        uint64_t start_ns;
        uint64_t end_ns;
        Outcome outcome;
        const char *name; /* never NULL, as all below */
        const char *service;
        const char *container_name;
        const char *container_id;
        const char *why;
} StartRow;

/* A CRI call of any pod. */
typedef struct StartCall {
        uint64_t start_ns;
        uint64_t end_ns;
        Outcome outcome;
        const char *pod_uid; /* never NULL, as all below */
        const char *pod_name;
        const char *pod_namespace;
        const char *container_name;
} StartCall;

typedef int (*StartRowFn)(const StartRow *row, void *userdata);
typedef int (*StartCallFn)(const StartCall *call, void *userdata);

/*
 * The pod's newest RunPodSandbox, and how it is called. Returns -ENOENT without one. @ret_first_ns is the start of the
 * first of the failed attempts that came before it within 10 minutes each, or its own. The caller frees the names.
 */
int startdb_sandbox(StoreDb *db, const char *uid, uint64_t *ret_first_ns, char **ret_name, char **ret_namespace);

/* The spans of the pod that began in [@since_ns, @until_ns], each once, the oldest first, at most @max. */
int startdb_rows(StoreDb *db, const char *uid, uint64_t since_ns, uint64_t until_ns, unsigned max, StartRowFn fn,
                 void *userdata);

/* Calls of @method ("runtime.v1.RuntimeService/RunPodSandbox") of all pods that began before @until_ns, the newest
 * first, at most STARTDB_CALLS_MAX, until @fn returns something else than 0. */
int startdb_calls(StoreDb *db, const char *method, uint64_t until_ns, StartCallFn fn, void *userdata);

/* The UID of the pod called @pod (name, namespace/name, UID or the begin of one) whose sandbox was made last. Returns
 * -ENOENT if no pod fits. The caller frees it. */
int startdb_pod(StoreDb *db, const char *pod, char **ret_uid);
