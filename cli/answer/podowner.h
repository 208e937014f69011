#pragma once

/*
 * Whose processes they are
 *
 * Says for each process that was scanned to which pod, sandbox and container it belongs, and whether it works for the
 * node there: a runtime, a shim, a monitor, a CNI plugin, a hook, or what one of these started. In order of trust: the
 * context file of the start, which podspan-cri wrote; the annotations of the bundle, by the rules of lib/node/state.h;
 * CNI_ARGS and the name of a monitor; the UID in the cgroup's path.
 */

#include "context.h"
#include "procscan.h"

#define PODOWNER_MAX 4096 /* containers and sandboxes */

typedef struct Owner {
        char id[IDENTITY_ID_MAX + 1]; /* of the container or sandbox; "": only the pod is known */
        Identity identity;
        bool is_sandbox;
        bool named; /* the pod's name is known */
        char bundle[PODOF_BUNDLE_MAX + 1];
} Owner;

typedef struct Owners {
        Owner *owners;
        size_t n, n_allocated;
        int *of;       /* of each process, by its place in Procs: the place in @owners; -1: none */
        bool *working; /* does it work for the node there? */
} Owners;

#define OWNERS_NULL \
        {}

/* @context may be NULL. Returns 0 or -ENOMEM. */
int podowner_find(const Procs *procs, Asides *asides, const Context *context, Owners *ret);
void podowner_deinit(Owners *owners);

/* The owner of @proc; NULL: none. */
const Owner *podowner_of(const Owners *owners, const Procs *procs, const Proc *proc);

/* Can what @identity names be what @other names? Something must be the same, and nothing may differ. */
bool podowner_same_pod(const Identity *identity, const Identity *other);
bool podowner_concerns(const Identity *call, const Owner *owner);
