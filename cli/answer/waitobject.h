#pragma once

/*
 * Objects of waits
 *
 * What a wait's descriptor, path or address is, and which question finds its other end: tables of sockets and locks,
 * links, fdinfo, mountinfo. What could block is asked of a child (aside.h).
 */

#include "fdscan.h"
#include "sockdiag.h"
#include "wait.h"

#define WAITOBJECT_FDS_MAX  64 /* descriptors of one poll, select or epoll */
#define WAITOBJECT_NETS_MAX 8  /* network namespaces whose sockets are loaded */

typedef struct WaitobjectNet {
        uint64_t ns; /* its inode; 0: not used yet */
        Sockdiag diag;
} WaitobjectNet;

typedef struct Waitobject {
        Asides *asides;     /* borrowed */
        const Procs *procs; /* borrowed */
        Fdscan scan;
        WaitobjectNet nets[WAITOBJECT_NETS_MAX];
        char *locks; /* /proc/locks */
        size_t locks_n;
        bool locks_read;
} Waitobject;

#define WAITOBJECT_NULL \
        {}

void waitobject_deinit(Waitobject *objects);

/* The sockets of the network namespace of process @pid, loaded once; NULL: not known, or too many namespaces. */
const WaitobjectNet *waitobject_net(Waitobject *objects, pid_t pid);

/* Completes @wait, whose plan is @plan: kind, object, and the question for objects->scan. */
void waitobject_resolve(Waitobject *objects, const Proc *proc, const WaitPlan *plan, const char *wchan, Wait *wait);

/* A process at the other end, with its state. */
void waitobject_set_peer(Wait *wait, const Proc *peer);
