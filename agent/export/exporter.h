#pragma once

/*
 * Exporter
 *
 * podspand's side of the export: one request at a time goes to podspan-export, a process of its own that knows gRPC,
 * TLS and the collector. podspand knows none of them. The process is started for a request, stays as long as requests
 * follow each other, and is killed (SIGKILL; it has nothing to lose)
 *  - EXPORTER_LINGER_NS after the last answer,
 *  - after an answer that its connection did not survive or may not survive (exporter_drop()),
 *  - when it takes longer than its deadline, or more processor time than the request is worth,
 *  - when the configuration has changed and it is idle,
 *  - with the exporter.
 * Its memory is bounded by RLIMIT_DATA (spawner.h): a collector that makes it grow ends it. However it ends, the
 * request under way gets an answer: UNAVAILABLE, made up here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"
#include "exportwire.h"
#include "loop.h"
#include "util.h"

#define EXPORTER_LINGER_NS (5 * NSEC_PER_SEC)    /* idle, for the next request */
#define EXPORTER_WATCH_NS  (200 * NSEC_PER_MSEC) /* how often a process is looked at */
#define EXPORTER_GRACE_NS  (1 * NSEC_PER_SEC)    /* after a request's deadline */
#define EXPORTER_CPU_NS    (1 * NSEC_PER_SEC)    /* processor time of a request: start, handshake … */
#define EXPORTER_CPU_MIB   (500 * NSEC_PER_MSEC) /* … and for each MiB of it */
#define EXPORTER_CPU_IDLE  (100 * NSEC_PER_MSEC) /* processor time while idle */
#define EXPORTER_NO_LINGER (300 * NSEC_PER_SEC)  /* after one that used more, none lingers for so long */

typedef struct Exporter Exporter;

typedef struct ExporterAnswer {
        ExportwireAnswer wire;
        bool costly; /* the process used more processor time than the request is worth */
} ExporterAnswer;

/* The request has ended. A negative return goes to the loop. */
typedef int (*ExporterFn)(Exporter *exporter, const ExporterAnswer *answer, void *userdata);

/*
 * Reads @config's certificates and remembers where to send; starts nothing. @spawner_fd is borrowed. Returns 0, or a
 * negative errno with a message for people in @reterr_message (owned by the caller, may be NULL without memory).
 */
int exporter_new(Loop *loop, int spawner_fd, const Config *config, ExporterFn on_answer, void *userdata, Exporter **ret,
                 char **reterr_message);
/*
 * The next request goes where @config says now; where it exports nothing, none may follow. A request under way is not
 * disturbed. Returns 0, or as exporter_new(); then nothing has changed.
 */
int exporter_reload(Exporter *exporter, const Config *config, char **reterr_message);
/* Kills the process, without waiting for its end. A request under way gets no answer. */
Exporter *exporter_free(Exporter *exporter);
DEFINE_CLEANUP(Exporter *, exporter_free);

/*
 * A request is put together piece by piece: TracesData messages (copied), which joined are one. exporter_start() sends
 * it with a deadline @timeout_ns from now. Returns 0, -EBUSY while a request is under way, -ENODATA where nothing was
 * added, -E2BIG above EXPORTWIRE_REQUEST_MAX, or another negative errno; unless 0, the pieces are gone.
 */
void exporter_add(Exporter *exporter, const uint8_t *data, size_t size);
int exporter_start(Exporter *exporter, uint64_t timeout_ns);
/* Throws away what was added. */
void exporter_discard(Exporter *exporter);
bool exporter_busy(const Exporter *exporter);

/* Ends the idle process: the next request has a connection of its own. */
void exporter_drop(Exporter *exporter);
