#pragma once

/*
 * Exporter
 *
 * The OTLP gRPC client: opentelemetry.proto.collector.trace.v1.TraceService/Export, one call at a time. The only module
 * that knows gRPC. gRPC's C core runs threads of its own; one more, ours, waits on its completion queue and does
 * nothing but note that the call is over and wake the main loop through an eventfd. All else happens in the caller's
 * thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"
#include "util.h"

#define EXPORTER_RESPONSE_MAX (4U * 1024 * 1024) /* OTLP's bound for a response */
#define EXPORTER_METADATA_MAX (64U * 1024)       /* bytes of an answer's header fields */
#define EXPORTER_MESSAGE_MAX  512

typedef struct Exporter Exporter;

typedef struct ExporterAnswer {
        int code; /* gRPC status, retry.h's RetryCode */
        char message[EXPORTER_MESSAGE_MAX];
        uint8_t *details; /* grpc-status-details-bin, NULL: none */
        size_t details_size;
        uint8_t *response; /* the serialized ExportTraceServiceResponse, NULL: none */
        size_t response_size;
} ExporterAnswer;

void exporter_answer_deinit(ExporterAnswer *answer);

/*
 * Makes a channel to @config's endpoint (no connection yet) with its certificates, compression and headers. Returns 0,
 * or a negative errno with a message for people in @reterr_message (owned by the caller, may be NULL without memory).
 */
int exporter_new(const Config *config, Exporter **ret, char **reterr_message);
/*
 * The next call goes where @config says now; where it exports nothing, none may follow. A call under way is not
 * disturbed. Returns 0, or as exporter_new(); then nothing has changed.
 */
int exporter_reload(Exporter *exporter, const Config *config, char **reterr_message);
/* Gives up a call under way, waits for its end (which cancelling makes immediate), and joins the thread. */
Exporter *exporter_free(Exporter *exporter);
DEFINE_CLEANUP(Exporter *, exporter_free);

/* Readable when the call has ended: then exporter_take(). Owned by @exporter. */
int exporter_event_fd(const Exporter *exporter);

/*
 * A request is put together piece by piece: TracesData messages (copied), which joined are one. exporter_start() sends
 * it (gzip as configured) with a deadline @timeout_ns from now. Returns 0, -EBUSY while a call is under way, -ENODATA
 * where nothing was added, or -EIO; unless 0, the pieces are gone.
 */
int exporter_add(Exporter *exporter, const uint8_t *data, size_t size);
int exporter_start(Exporter *exporter, uint64_t timeout_ns);
/* Throws away what was added. */
void exporter_discard(Exporter *exporter);
bool exporter_busy(const Exporter *exporter);

/* Ends the call under way early; its answer comes as any other, with CANCELLED. */
void exporter_cancel(Exporter *exporter);

/* 1 with the answer to a call that has ended (exporter_answer_deinit()), or 0 where none has. */
int exporter_take(Exporter *exporter, ExporterAnswer *ret);

/* Connects at once if the channel is waiting to try again: for the first try after a failure. */
void exporter_reconnect(Exporter *exporter);
