#pragma once

/*
 * Spool
 *
 * The only way into podspand: a maildir of plain OTLP (docs/spool.md). A producer writes one file with one serialized
 * TracesData under a dot name and renames it: atomic, no lock, no daemon needed. A producer never waits and never
 * fails its caller; what it cannot write it counts. No directory means that nobody wants spans.
 */

#include "counters.h"
#include "span.h"

#define SPOOL_FILE_MAX     (4U * 1024 * 1024) /* bytes of one file; a reader refuses more */
#define SPOOL_FREE_PERCENT 10                 /* on a plain directory, producers refuse below this much free */
#define SPOOL_NAME_MAX     80
#define SPOOL_VERSION      "1"

typedef struct Spool {
        int dir_fd;        /* -EBADF: no spool, nobody wants spans */
        int state_fd;      /* borrowed; to open a new spool in the place of one that was removed */
        uint64_t tried_ns; /* monotonic time of the last attempt to open it */
        CountersProducer producer;
        Counters *counters; /* borrowed, may be NULL */
        uint64_t seq;
        bool own_fs; /* a tmpfs: the kernel bounds it */
} Spool;

#define SPOOL_NULL \
        { .dir_fd = -EBADF, .state_fd = -EBADF }

/*
 * Opens STATE/spool below @state_fd. Returns 0, also if there is none (the spool is then closed: writes succeed and do
 * nothing), -EPERM if others than root, its group and we may change it (dirowner.h), or another negative errno if it is
 * there but not usable. @state_fd and @counters are borrowed: they outlive the
 * spool.
 */
int spool_init(Spool *spool, int state_fd, CountersProducer producer, Counters *counters);
void spool_deinit(Spool *spool);

/* Is somebody collecting? Tries again, at most once a second, to open a spool that was not there. @state_fd as in
 * spool_init(). */
bool spool_wanted(Spool *spool, int state_fd);

/*
 * Writes @n spans of service @service_name as one file (as several where SPOOL_FILE_MAX asks for it); the spans stay
 * the caller's. Failures are counted, not retried.
 * Returns 0, or a negative errno for those who want to know (already counted).
 */
int spool_write(Spool *spool, const char *service_name, Span *const *spans, size_t n);

/* Makes STATE and STATE/spool (setgid, 2770) where missing; for podspand, the collector. 0 or a negative errno. */
int spool_create(int state_fd);

/* Is @name a finished spool file of a version this reader knows? Dot names are files being written. */
bool spool_name_valid(const char *name);
