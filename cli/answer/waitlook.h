#pragma once

/*
 * Looking at waits
 *
 * Reads what one process waits for, in three steps for all processes of a run: waitlook_begin() for each of them reads
 * its own files and says which other ends are to be found; waitlook_scan() looks once at all descriptors; and
 * waitlook_finish() fills in who was found.
 *
 * Nothing here can block: what could (memory of a process, a path) is read by a child that is left behind (aside.h).
 */

#include "waitobject.h"

#define WAITLOOK_THREADS_MAX 64 /* of one process; more are not looked at */

typedef struct Waitlook {
        Waitobject objects;
        char freezer[256]; /* where cgroup v1's freezer is mounted; "" nowhere */
        char unified[256]; /* where cgroup v2 is */
} Waitlook;

#define WAITLOOK_NULL \
        {}

/* @asides and @procs are borrowed. */
void waitlook_init(Waitlook *look, Asides *asides, const Procs *procs);
void waitlook_deinit(Waitlook *look);

/* Always gives a wait; one of which nothing is known is WAIT_UNKNOWN. */
void waitlook_begin(Waitlook *look, const Proc *proc, Wait *ret);
int waitlook_scan(Waitlook *look);
void waitlook_finish(Waitlook *look, const Proc *proc, Wait *wait);

/* Is the cgroup of @pid frozen? Fills in which one is the cause. */
bool waitlook_frozen(const Waitlook *look, pid_t pid, char *ret, size_t size);
