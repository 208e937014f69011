#pragma once

/*
 * Work
 *
 * What a process spent its time with in the kernel (EVENT_WORK), in the order in which it is told: pieces of one kind
 * that follow each other closely are one. Bounded; what is above is dropped. Times are CLOCK_MONOTONIC, in nanoseconds.
 */

#include <stddef.h>
#include "event.h"
#include "util.h"

#define WORK_MAX        96
#define WORK_GAP_NS     NSEC_PER_MSEC         /* what follows later than this is another piece */
#define WORK_RUN_GAP_NS (300 * NSEC_PER_USEC) /* likewise of time on a CPU */
#define WORK_BURST_NS   (2 * NSEC_PER_MSEC)   /* likewise of work with files of any kind */
#define WORK_TELL_NS    (500 * NSEC_PER_USEC) /* a piece of less is no span */
#define WORK_WAIT_NS    (4 * NSEC_PER_MSEC)   /* nor is a wait of less: on a busy machine there are very many */

typedef struct Work {
        uint64_t begin_ns, end_ns;
        uint64_t busy_ns; /* without the gaps */
        uint32_t n;       /* system calls */
        EventWork kind;
} Work;

typedef struct WorkList {
        Work *items; /* allocated with the first */
        size_t n;
} WorkList;

/* Adds what ended at @end_ns after @length_ns. */
void work_add(WorkList *list, EventWork kind, uint64_t end_ns, uint64_t length_ns);
/* Forgets what ended until @time_ns. */
void work_forget(WorkList *list, uint64_t time_ns);
void work_free(WorkList *list);

/* How much time of the interval went to @kind. */
uint64_t work_within(const WorkList *list, EventWork kind, uint64_t begin_ns, uint64_t end_ns);

/*
 * Is it worth a span? Waiting for a peer is none: what the peer does meanwhile explains it. Waiting for a CPU is:
 * nothing else of the node does.
 */
bool work_is_span(const Work *work);

/* In the order in which they began. */
void work_sort(Work *works, size_t n);
/*
 * How many of the @n sorted @works, of which there is one at least, are one: work with files, none of it later than
 * WORK_BURST_NS after what was before. @ret is the sum of them.
 */
size_t work_burst(const Work *works, size_t n, Work *ret);

/*
 * What of @work is not told by the @n_told sorted works @told already, in pieces long enough to be told. @rest has room
 * for @n_told + 1; returns how many they are.
 */
size_t work_rest(const Work *work, const Work *told, size_t n_told, Work *rest);

/* A literal: the name of a span, of an attribute with the time in nanoseconds. */
const char *work_name(EventWork kind);
const char *work_attribute(EventWork kind);
