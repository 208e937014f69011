#pragma once

/*
 * CRI methods
 *
 * What podspan-cri does with a call follows from its method alone: this table. A method that is not in it is judged by
 * its name, never changed, and so a future CRI version loses nothing. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include "crimsg.h"

#define METHOD_PATH_MAX 255 /* characters of a :path that are kept */

typedef enum MethodClass {
        METHOD_MUTATING, /* a span each, a context file, a traceparent where decision 2 says so */
        METHOD_OTHER,    /* a span each: known but not in the list of decision 2, or not known and no poll by name */
        METHOD_PROBE,    /* ExecSync: as a poll, but with a context file */
        METHOD_POLL,     /* a span only if it fails or is slow; counted */
        METHOD_STREAM,   /* as a poll, but never slow */
} MethodClass;

typedef enum MethodEffect {
        METHOD_EFFECT_NONE,
        METHOD_RUN_POD_SANDBOX,
        METHOD_REMOVE_POD_SANDBOX,
        METHOD_CREATE_CONTAINER,
        METHOD_START_CONTAINER,
        METHOD_REMOVE_CONTAINER,
        METHOD_PULL_IMAGE,
        METHOD_LIST_SANDBOXES,
        METHOD_LIST_CONTAINERS,
} MethodEffect;

typedef struct Method {
        const char *name; /* "runtime.v1.RuntimeService/RunPodSandbox"; NULL: one of the classes for unknown methods */
        size_t len;       /* of the name */
        MethodClass class;
        MethodEffect effect;
        const PbMessage *request; /* NULL: carries no identity */
        const PbMessage *reply;
        bool not_found_is_normal; /* of a poll: the object may be gone by then */
} Method;

/*
 * The method of the @len bytes of a :path ("/runtime.v1.RuntimeService/Version"). Never NULL: an unknown one gets its
 * class by name (List*, Get*, *Status, *Stats, *Metrics, *Info, *Version are polls, Stream*, Watch* streams).
 */
const Method *method_find(const char *path, size_t len);

/* The method whose name's last part @operation is ("RunPodSandbox"); NULL if the table has none. */
const Method *method_of_operation(const char *operation);

/* The part after the last slash. */
const char *method_short(const char *name);
