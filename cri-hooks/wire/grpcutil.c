#include <errno.h>
#include "grpcutil.h"
#include "util.h"

/* RFC 9113, section 7, as gRPC maps it; what is not here is INTERNAL. */
enum {
        H2_REFUSED_STREAM = 0x7,
        H2_CANCEL = 0x8,
        H2_ENHANCE_YOUR_CALM = 0xb,
        H2_INADEQUATE_SECURITY = 0xc,
};

bool grpc_status_server_error(int status) {
        static const uint32_t errors = 1U << GRPC_UNKNOWN | 1U << GRPC_DEADLINE_EXCEEDED | 1U << GRPC_UNIMPLEMENTED |
                                       1U << GRPC_INTERNAL | 1U << GRPC_UNAVAILABLE | 1U << GRPC_DATA_LOSS;

        return status < 0 || status >= _GRPC_STATUS_MAX || (errors >> status & 1) != 0;
}

int grpc_status_parse(const char *s, size_t len) {
        uint64_t n;

        if (len > 3 || util_parse_u64(s, len, &n) < 0)
                return GRPC_UNKNOWN;
        return (int) n;
}

int grpc_status_from_http(unsigned http_status) {
        switch (http_status) {
        case 400:
                return GRPC_INTERNAL;
        case 401:
                return GRPC_UNAUTHENTICATED;
        case 403:
                return GRPC_PERMISSION_DENIED;
        case 404:
                return GRPC_UNIMPLEMENTED;
        case 429:
        case 502:
        case 503:
        case 504:
                return GRPC_UNAVAILABLE;
        default:
                return GRPC_UNKNOWN;
        }
}

int grpc_status_from_h2(uint32_t error_code) {
        switch (error_code) {
        case H2_REFUSED_STREAM:
                return GRPC_UNAVAILABLE;
        case H2_CANCEL:
                return GRPC_CANCELLED;
        case H2_ENHANCE_YOUR_CALM:
                return GRPC_RESOURCE_EXHAUSTED;
        case H2_INADEQUATE_SECURITY:
                return GRPC_PERMISSION_DENIED;
        default:
                return GRPC_INTERNAL;
        }
}

int grpc_timeout_parse(const char *s, size_t len, uint64_t *ret_ns) {
        uint64_t n, unit;

        if (len < 2 || len > 9)
                return -EBADMSG;

        switch (s[len - 1]) {
        case 'H':
                unit = 3600 * NSEC_PER_SEC;
                break;
        case 'M':
                unit = 60 * NSEC_PER_SEC;
                break;
        case 'S':
                unit = NSEC_PER_SEC;
                break;
        case 'm':
                unit = NSEC_PER_MSEC;
                break;
        case 'u':
                unit = NSEC_PER_USEC;
                break;
        case 'n':
                unit = 1;
                break;
        default:
                return -EBADMSG;
        }

        if (util_parse_u64(s, len - 1, &n) < 0)
                return -EBADMSG;

        /* 99999999 hours are more nanoseconds than 64 bits hold. */
        *ret_ns = n > UINT64_MAX / unit ? UINT64_MAX : n * unit;
        return 0;
}

size_t grpc_message_decode(const char *s, size_t len, char *ret, size_t size) {
        size_t n = 0;

        if (size == 0)
                return 0;

        for (size_t i = 0; i < len && n < size - 1; i++) {
                if (s[i] == '%' && len - i > 2) {
                        int hi = util_hex_value(s[i + 1]), lo = util_hex_value(s[i + 2]);

                        if (hi >= 0 && lo >= 0) {
                                ret[n++] = (char) (hi << 4 | lo);
                                i += 2;
                                continue;
                        }
                }
                ret[n++] = s[i];
        }

        /* Cut in the middle of a UTF-8 sequence? Then without its beginning. */
        if (n == size - 1) {
                size_t tail = 0;

                while (tail < 3 && tail < n && ((unsigned char) ret[n - 1 - tail] & 0xc0) == 0x80)
                        tail++;
                if (tail < n) {
                        unsigned char lead = (unsigned char) ret[n - 1 - tail];
                        size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;

                        if (need > tail + 1)
                                n -= tail + 1;
                }
        }

        ret[n] = 0;
        return n;
}
