#pragma once

/*
 * Death
 *
 * How a container's process died: the facts (verdict.h) that follow from what the kernel side records (event.h). No
 * I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include "event.h"
#include "verdict.h"

#define DEATH_VICTIMS_MAX 16 /* of one container; the first ones */
/* A stop signal other than SIGTERM asked for the end only if the end came this soon: many programs reload on one. */
#define DEATH_OTHER_STOP_NS (60 * NSEC_PER_SEC)

/* A process that the OOM killer chose. */
typedef struct DeathVictim {
        uint64_t time_ns; /* CLOCK_MONOTONIC */
        uint64_t start_ns;
        uint32_t pid;
        VerdictScope scope;
        int64_t limit_bytes; /* 0: not known, likewise below */
        int64_t rss_bytes;
        char program[EVENT_COMM_SIZE];
} DeathVictim;

typedef struct DeathVictims {
        size_t n;
        uint32_t n_dropped;
        DeathVictim items[DEATH_VICTIMS_MAX];
} DeathVictims;

/*
 * Reads what follows an exit event. Returns 0, or -EBADMSG. If nothing follows (@size 0), it is a death of which
 * nothing is known.
 */
int death_parse(const char *data, size_t size, EventDeath *ret);

/* Reads what follows an EVENT_VICTIM. Returns 0, or -EBADMSG. */
int death_parse_victim(const char *data, size_t size, EventVictim *ret);

/*
 * Whose limit killed @victim. @container_id and @pod_uid are those of the victim's container, "" where they are not
 * known.
 */
VerdictScope death_scope(const EventVictim *victim, const char *container_id, const char *pod_uid);

/* Adds a victim to *@victims, which is allocated with the first one. Returns 0 or -ENOMEM. */
int death_note(DeathVictims **victims, const Event *event, const EventVictim *victim, VerdictScope scope);
/* The victim @event is about, NULL if it was none. */
const DeathVictim *death_find(const DeathVictims *victims, const Event *event);

/* The signal that gave the process its wait status @status; NULL if it is not known. Borrowed from @death. */
const EventSignal *death_cause(const EventDeath *death, int status);

/* Is the process that waits for it neither a shim, a monitor nor a runtime? */
bool death_orphaned(const EventDeath *death);

/*
 * The facts of the exit @event, which came at @wall_ns of the wall clock. @seen_since_ns is when signals to the
 * process began to be seen (CLOCK_MONOTONIC); 0: since its start. @sender_container may be NULL. The strings in @ret
 * are borrowed from @death, @victim and @sender_container.
 */
void death_facts(const EventDeath *death, const DeathVictim *victim, const Event *event, uint64_t wall_ns,
                 uint64_t seen_since_ns, const char *sender_container, VerdictFacts *ret);
