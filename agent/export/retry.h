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
#include "util.h"

#define RETRY_DELAY_MIN_NS (500 * NSEC_PER_MSEC) /* after the first failure */
#define RETRY_DELAY_MAX_NS (5 * NSEC_PER_SEC)    /* a collector that is back is found within this */
#define RETRY_INFO_MAX_NS  (300 * NSEC_PER_SEC)  /* the longest wait a collector can impose */
#define RETRY_DETAILS_MAX  (64U * 1024)          /* bytes of grpc-status-details-bin that are looked at */

/* The codes of gRPC, "Status codes and their use in gRPC". */
typedef enum RetryCode {
        RETRY_CODE_OK = 0,
        RETRY_CODE_CANCELLED = 1,
        RETRY_CODE_UNKNOWN = 2,
        RETRY_CODE_INVALID_ARGUMENT = 3,
        RETRY_CODE_DEADLINE_EXCEEDED = 4,
        RETRY_CODE_NOT_FOUND = 5,
        RETRY_CODE_ALREADY_EXISTS = 6,
        RETRY_CODE_PERMISSION_DENIED = 7,
        RETRY_CODE_RESOURCE_EXHAUSTED = 8,
        RETRY_CODE_FAILED_PRECONDITION = 9,
        RETRY_CODE_ABORTED = 10,
        RETRY_CODE_OUT_OF_RANGE = 11,
        RETRY_CODE_UNIMPLEMENTED = 12,
        RETRY_CODE_INTERNAL = 13,
        RETRY_CODE_UNAVAILABLE = 14,
        RETRY_CODE_DATA_LOSS = 15,
        RETRY_CODE_UNAUTHENTICATED = 16,
        _RETRY_CODE_MAX,
} RetryCode;

typedef enum RetryVerdict {
        RETRY_DONE, /* accepted, perhaps in part: never again */
        RETRY_LATER,
        RETRY_SMALLER, /* the request may have been too large: send less at once; drop and count a single span */
        RETRY_NEVER,   /* drop and count */
} RetryVerdict;

/* What counts of an answer to one request. */
typedef struct RetryAnswer {
        int code;
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

/* "UNAVAILABLE" …; a code that is none of them is as good as "UNKNOWN". */
const char *retry_code_name(int code);

/* A collector's word about a request that it accepted, perhaps in part. */
typedef struct RetryPartial {
        uint64_t n_rejected; /* spans; never to be sent again */
        char message[256];   /* "": none. With none rejected it is a warning */
} RetryPartial;

/* Reads a serialized ExportTraceServiceResponse. Returns 0 or -EBADMSG. */
int retry_partial_parse(const uint8_t *response, size_t size, RetryPartial *ret);
