#pragma once

/*
 * Retry
 *
 * What an exporter does with the collector's answer, by OTLP's rules (OTLP specification, "Failures", OTLP/gRPC):
 * which codes may come again, when, and with what delay. No I/O, no clock, no randomness of its own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "grpcstatus.h"
#include "util.h"

#define RETRY_DELAY_MIN_NS (500 * NSEC_PER_MSEC) /* after the first failure */
#define RETRY_DELAY_MAX_NS (5 * NSEC_PER_SEC)    /* a collector that is back is found within this */
#define RETRY_INFO_MAX_NS  (300 * NSEC_PER_SEC)  /* the longest wait a collector can impose */
#define RETRY_DETAILS_MAX  (64U * 1024)          /* bytes of grpc-status-details-bin that are looked at */

typedef enum RetryVerdict {
        RETRY_DONE, /* accepted, perhaps in part: never again */
        RETRY_LATER,
        RETRY_SMALLER, /* the request may have been too large: send less at once; drop and count a single span */
        RETRY_NEVER,   /* drop and count */
} RetryVerdict;

/* What counts of an answer to one request. */
typedef struct RetryAnswer {
        int code;          /* GrpcStatus */
        bool local;        /* our side made the status up (a broken connection, a frame that is none): retried */
        bool told;         /* the collector sent RetryInfo */
        uint64_t delay_ns; /* RetryInfo's; at most RETRY_INFO_MAX_NS */
        const char *message;
} RetryAnswer;

/*
 * Decides about the @answer to the @attempt-th try (from 1). @random is any number; it spreads the delay by a quarter
 * either way. A RetryInfo's delay is never shortened, and no delay is shorter than three quarters of
 * RETRY_DELAY_MIN_NS. @ret_delay_ns is written with RETRY_LATER only.
 */
RetryVerdict retry_decide(const RetryAnswer *answer, unsigned attempt, uint32_t random, uint64_t *ret_delay_ns);

/*
 * Finds RetryInfo.retry_delay in a serialized google.rpc.Status. Returns 0 with a bounded delay, -ENOENT where there is
 * none, or -EBADMSG.
 */
int retry_info_parse(const uint8_t *details, size_t size, uint64_t *ret_delay_ns);

/* A collector's word about a request that it accepted, perhaps in part. */
typedef struct RetryPartial {
        uint64_t n_rejected; /* spans; never to be sent again */
        char message[256];   /* "": none. With none rejected it is a warning */
} RetryPartial;

/* Reads a serialized ExportTraceServiceResponse. Returns 0 or -EBADMSG. */
int retry_partial_parse(const uint8_t *response, size_t size, RetryPartial *ret);
