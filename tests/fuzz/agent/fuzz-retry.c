/* grpc-status-details-bin and an ExportTraceServiceResponse: the delay stays within its bounds. */

#include "retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint64_t delay_ns = 0;
        RetryAnswer answer = { .code = GRPC_UNAVAILABLE, .told = true, .message = "" };
        RetryPartial partial;

        if (retry_info_parse(data, size, &delay_ns) == 0 && delay_ns > RETRY_INFO_MAX_NS)
                abort();
        answer.delay_ns = delay_ns;
        if (retry_decide(&answer, 3, UINT32_MAX, &delay_ns) != RETRY_LATER || delay_ns < RETRY_DELAY_MIN_NS ||
            delay_ns > RETRY_INFO_MAX_NS / 8 * 9)
                abort();
        (void) retry_partial_parse(data, size, &partial);
        return 0;
}
