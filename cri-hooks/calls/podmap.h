#pragma once

/*
 * Pod map
 *
 * Whose a sandbox or container id is, and the trace context of its start: learned from requests, replies, List replies
 * and the start files of an earlier podspan-cri. Bounded: the one used least recently goes. No I/O.
 */

#include "crimsg.h"
#include "identity.h"
#include "pack.h"
#include "tracecontext.h"
#include "util.h"

#define PODMAP_ENTRIES_MAX 8192

typedef struct Podmap Podmap;
typedef struct PodmapEntry PodmapEntry;

typedef enum PodmapString {
        PODMAP_ID,
        PODMAP_NAME, /* of the pod, or the container */
        PODMAP_UID,  /* sandboxes: */
        PODMAP_NAMESPACE,
        PODMAP_HANDLER,
        PODMAP_IMAGE, /* containers */
        _PODMAP_STRING_MAX,
} PodmapString;

struct PodmapEntry {
        PodmapEntry *next;     /* same bucket by id */
        PodmapEntry *uid_next; /* same bucket by UID */
        PodmapEntry *older, *newer;
        uint64_t hash; /* of the id */
        uint64_t uid_hash;
        uint64_t sandbox_hash; /* a container: of its sandbox's id; 0: not known */
        uint64_t start_ns;     /* a sandbox: wall clock of the last call of its start */
        uint64_t call_ns;      /* wall clock of the call whose context start is */
        TraceContext start;    /* valid if has_start */
        uint32_t attempt;
        bool is_container;
        bool attempt_known;
        bool has_start;
        bool start_called;                /* a container: start is of StartContainer, not CreateContainer */
        bool started;                     /* a container: StartContainer has succeeded once */
        uint16_t off[_PODMAP_STRING_MAX]; /* into data; 0: not known */
        char data[];
};

/* NULL without memory; every function accepts that. */
Podmap *podmap_new(void);
Podmap *podmap_free(Podmap *map);
DEFINE_CLEANUP(Podmap *, podmap_free);

/*
 * Learns the sandbox or container named by @fields (SANDBOX_ID or CONTAINER_ID must be there): what is known there
 * replaces what was, the rest stays. Returns the entry, valid until the next put, or NULL without memory or an id.
 */
PodmapEntry *podmap_put_sandbox(Podmap *map, const CriFields *fields);
PodmapEntry *podmap_put_container(Podmap *map, const CriFields *fields);

/* Looks up by id, or a pod's sandbox with the highest attempt by UID. NULL if not known. */
PodmapEntry *podmap_find(Podmap *map, const char *id);
PodmapEntry *podmap_find_pod(Podmap *map, const char *uid);
/* The sandbox of a container; of a sandbox, itself. */
PodmapEntry *podmap_sandbox(Podmap *map, PodmapEntry *entry);

/* NULL if not known. */
const char *podmap_string(const PodmapEntry *entry, PodmapString string);

/* Fills what is empty in @identity from @entry and its sandbox. */
void podmap_identity(Podmap *map, PodmapEntry *entry, Identity *identity);

/* Forgets an id. */
void podmap_remove(Podmap *map, const char *id);
/* Forgets a sandbox and its containers, calling @fn (may be NULL) with the id of each. */
void podmap_remove_sandbox(Podmap *map, const char *id, void (*fn)(const char *id, void *userdata), void *userdata);

size_t podmap_size(const Podmap *map);

/* For the podspan-cri that takes over: as pack.h has it. Reads into an empty map: 0, -EBADMSG or -ENOMEM; what was read
 * before a failure stays. */
void podmap_pack(const Podmap *map, Pack *pack);
int podmap_unpack(Podmap *map, Unpack *unpack);
