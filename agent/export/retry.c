#include <assert.h>
#include <string.h>
#include "retry.h"
#include "otlp.pb-c.h"
#include "rpcstatus.pb-c.h"

#define RETRY_INFO_TYPE "google.rpc.RetryInfo"

typedef enum Rule {
        RULE_NEVER,
        RULE_DONE,
        RULE_RETRY,
        RULE_RETRY_IF_TOLD, /* with RetryInfo; without, only a smaller request may succeed */
} Rule;

static const uint8_t rules[_GRPC_STATUS_MAX] = {
        [GRPC_OK] = RULE_DONE,
        [GRPC_CANCELLED] = RULE_RETRY,
        [GRPC_UNKNOWN] = RULE_NEVER,
        [GRPC_INVALID_ARGUMENT] = RULE_NEVER,
        [GRPC_DEADLINE_EXCEEDED] = RULE_RETRY,
        [GRPC_NOT_FOUND] = RULE_NEVER,
        [GRPC_ALREADY_EXISTS] = RULE_NEVER,
        [GRPC_PERMISSION_DENIED] = RULE_NEVER,
        [GRPC_RESOURCE_EXHAUSTED] = RULE_RETRY_IF_TOLD,
        [GRPC_FAILED_PRECONDITION] = RULE_NEVER,
        [GRPC_ABORTED] = RULE_RETRY,
        [GRPC_OUT_OF_RANGE] = RULE_RETRY,
        [GRPC_UNIMPLEMENTED] = RULE_NEVER,
        [GRPC_INTERNAL] = RULE_NEVER,
        [GRPC_UNAVAILABLE] = RULE_RETRY,
        [GRPC_DATA_LOSS] = RULE_RETRY,
        [GRPC_UNAUTHENTICATED] = RULE_NEVER,
};

static bool is_retry_info(const char *type_url) {
        const char *slash = strrchr(type_url, '/');

        return strcmp(slash ? slash + 1 : type_url, RETRY_INFO_TYPE) == 0;
}

static uint64_t duration_ns(const Podspan__Rpcstatus__Duration *duration) {
        if (!duration || duration->seconds < 0 || (duration->seconds == 0 && duration->nanos < 0))
                return 0;
        if ((uint64_t) duration->seconds >= RETRY_INFO_MAX_NS / NSEC_PER_SEC)
                return RETRY_INFO_MAX_NS;

        return (uint64_t) duration->seconds * NSEC_PER_SEC +
               (duration->nanos > 0 ? MIN((uint64_t) duration->nanos, NSEC_PER_SEC - 1) : 0);
}

int retry_info_parse(const uint8_t *details, size_t size, uint64_t *ret_delay_ns) {
        Podspan__Rpcstatus__Status *status;
        int r = -ENOENT;

        if (size > RETRY_DETAILS_MAX)
                return -EBADMSG;

        status = podspan__rpcstatus__status__unpack(NULL, size, details);
        if (!status)
                return -EBADMSG;

        for (size_t i = 0; i < status->n_details && r == -ENOENT; i++) {
                const Podspan__Rpcstatus__Any *any = status->details[i];
                Podspan__Rpcstatus__RetryInfo *info;

                if (!is_retry_info(any->type_url))
                        continue;
                info = podspan__rpcstatus__retry_info__unpack(NULL, any->value.len, any->value.data);
                if (!info) {
                        r = -EBADMSG;
                        break;
                }
                *ret_delay_ns = duration_ns(info->retry_delay);
                podspan__rpcstatus__retry_info__free_unpacked(info, NULL);
                r = 0;
        }

        podspan__rpcstatus__status__free_unpacked(status, NULL);
        return r;
}

/* @range * @random / UINT32_MAX without overflow: each part stays within 64 bits. */
static uint64_t spread(uint64_t range, uint32_t random) {
        return range / UINT32_MAX * random + range % UINT32_MAX * random / UINT32_MAX;
}

/* Doubles from try to try, spread by a quarter either way, so that a fleet does not come back as one. */
static uint64_t backoff_ns(unsigned attempt, uint32_t random) {
        uint64_t delay_ns = RETRY_DELAY_MIN_NS;

        for (unsigned i = 1; i < attempt && delay_ns < RETRY_DELAY_MAX_NS; i++)
                delay_ns *= 2;
        delay_ns = MIN(delay_ns, RETRY_DELAY_MAX_NS * 4 / 5);

        return delay_ns - delay_ns / 4 + spread(delay_ns / 2, random);
}

/* A server with a limit below OTLP's 4 MiB: C, Go and Java answer RESOURCE_EXHAUSTED, Rust's tonic OUT_OF_RANGE. */
static bool too_large(const RetryAnswer *answer) {
        return answer->code == GRPC_OUT_OF_RANGE && strstr(answer->message, "too large");
}

RetryVerdict retry_decide(const RetryAnswer *answer, unsigned attempt, uint32_t random, uint64_t *ret_delay_ns) {
        int code = answer->code;
        Rule rule;

        assert(ret_delay_ns);

        rule = code >= 0 && code < _GRPC_STATUS_MAX ? rules[code] : RULE_NEVER;
        if (rule == RULE_DONE)
                return RETRY_DONE;
        /* A status that no collector sent is no collector's refusal. */
        if (answer->local)
                rule = RULE_RETRY;
        if (rule == RULE_NEVER)
                return RETRY_NEVER;
        if ((rule == RULE_RETRY_IF_TOLD && !answer->told) || (!answer->local && too_large(answer)))
                return RETRY_SMALLER;

        /* A collector that asks for "now" still gets no tight loop. */
        *ret_delay_ns = answer->told && answer->delay_ns > 0
                                ? MAX(answer->delay_ns + spread(answer->delay_ns / 8, random), RETRY_DELAY_MIN_NS)
                                : backoff_ns(attempt, random);
        return RETRY_LATER;
}

int retry_partial_parse(const uint8_t *response, size_t size, RetryPartial *ret) {
        Podspan__Otlp__ExportTraceServiceResponse *message;
        RetryPartial partial = {};

        message = podspan__otlp__export_trace_service_response__unpack(NULL, size, response);
        if (!message)
                return -EBADMSG;

        if (message->partial_success) {
                const char *text = message->partial_success->error_message;

                partial.n_rejected = (uint64_t) MAX(message->partial_success->rejected_spans, INT64_C(0));
                util_copy_bounded(partial.message, sizeof(partial.message), text, strlen(text));
        }
        podspan__otlp__export_trace_service_response__free_unpacked(message, NULL);

        *ret = partial;
        return 0;
}
