#include "fixture.h"
#include "retry.h"
#include "rpcstatus.pb-c.h"

/* A serialized google.rpc.Status with one detail of @type_url; the caller's. */
static uint8_t *make_details(const char *type_url, int64_t seconds, int32_t nanos, size_t *ret_size) {
        Podspan__Rpcstatus__Duration duration = PODSPAN__RPCSTATUS__DURATION__INIT;
        Podspan__Rpcstatus__RetryInfo info = PODSPAN__RPCSTATUS__RETRY_INFO__INIT;
        Podspan__Rpcstatus__Any any = PODSPAN__RPCSTATUS__ANY__INIT, *anys[] = { &any };
        Podspan__Rpcstatus__Status status = PODSPAN__RPCSTATUS__STATUS__INIT;
        uint8_t packed[64], *details;

        duration.seconds = seconds;
        duration.nanos = nanos;
        info.retry_delay = &duration;
        any.type_url = (char *) type_url;
        any.value.len = podspan__rpcstatus__retry_info__pack(&info, packed);
        any.value.data = packed;
        status.code = 8;
        status.details = anys;
        status.n_details = 1;
        *ret_size = podspan__rpcstatus__status__get_packed_size(&status);
        details = malloc(*ret_size);
        assert_non_null(details);
        (void) podspan__rpcstatus__status__pack(&status, details);
        return details;
}

#define URL "type.googleapis.com/google.rpc.RetryInfo"

/* OTLP, "Failures", OTLP/gRPC: the table of codes. */
static void codes(void **state) {
        static const bool retryable[_GRPC_STATUS_MAX] = {
                [GRPC_CANCELLED] = true,    [GRPC_DEADLINE_EXCEEDED] = true, [GRPC_ABORTED] = true,
                [GRPC_OUT_OF_RANGE] = true, [GRPC_UNAVAILABLE] = true,       [GRPC_DATA_LOSS] = true,
        };

        (void) state;

        for (int code = -1; code <= _GRPC_STATUS_MAX; code++) {
                bool known = code >= 0 && code < _GRPC_STATUS_MAX;
                RetryVerdict plain = code == GRPC_OK                   ? RETRY_DONE
                                     : code == GRPC_RESOURCE_EXHAUSTED ? RETRY_SMALLER
                                     : known && retryable[code]        ? RETRY_LATER
                                                                       : RETRY_NEVER;
                RetryAnswer answer = { .code = code, .message = "" };
                uint64_t delay_ns = 1;

                assert_int_equal(retry_decide(&answer, 1, 0, &delay_ns), plain);
                if (plain != RETRY_LATER)
                        assert_int_equal(delay_ns, 1);
                answer.told = true;
                answer.delay_ns = 2 * NSEC_PER_SEC;
                assert_int_equal(retry_decide(&answer, 1, 0, &delay_ns),
                                 code == GRPC_RESOURCE_EXHAUSTED ? RETRY_LATER : plain);
                /* What no collector said is no refusal. */
                answer = (RetryAnswer){ .code = code, .message = "", .local = true };
                assert_int_equal(retry_decide(&answer, 1, 0, &delay_ns), code == 0 ? RETRY_DONE : RETRY_LATER);
        }
}

static void too_large(void **state) {
        RetryAnswer answer = { .code = GRPC_OUT_OF_RANGE,
                               .message = "Error, decoded message length too large: found 5000 bytes" };
        uint64_t delay_ns;

        (void) state;

        assert_int_equal(retry_decide(&answer, 1, 0, &delay_ns), RETRY_SMALLER);
        answer.message = "elsewhere";
        assert_int_equal(retry_decide(&answer, 1, 0, &delay_ns), RETRY_LATER);
}

static void backoff(void **state) {
        const RetryAnswer answer = { .code = GRPC_UNAVAILABLE, .message = "" };
        uint64_t previous_ns = 0, low_ns, high_ns;

        (void) state;

        for (unsigned attempt = 1; attempt < 100; attempt++) {
                assert_int_equal(retry_decide(&answer, attempt, 0, &low_ns), RETRY_LATER);
                assert_int_equal(retry_decide(&answer, attempt, UINT32_MAX, &high_ns), RETRY_LATER);
                assert_true(low_ns >= previous_ns);
                assert_true(high_ns > low_ns);
                assert_true(high_ns <= RETRY_DELAY_MAX_NS);
                assert_true(low_ns >= RETRY_DELAY_MIN_NS / 4 * 3);
                previous_ns = low_ns;
        }
        assert_true(high_ns == RETRY_DELAY_MAX_NS);
}

static void told(void **state) {
        static const struct {
                const char *type_url;
                int64_t seconds;
                int32_t nanos;
                int r;
                uint64_t delay_ns;
        } cases[] = {
                { URL, 4, 0, 0, 4 * NSEC_PER_SEC },
                { URL, 1, 500000000, 0, 1500 * NSEC_PER_MSEC },
                { "google.rpc.RetryInfo", 4, 0, 0, 4 * NSEC_PER_SEC },
                { "type.googleapis.com/google.rpc.DebugInfo", 4, 0, -ENOENT, 0 },
                { "", 4, 0, -ENOENT, 0 },
                { URL, -4, 0, 0, 0 },
                { URL, 0, -1, 0, 0 },
                { URL, INT64_MAX, 0, 0, RETRY_INFO_MAX_NS },
                { URL, 1, INT32_MAX, 0, 2 * NSEC_PER_SEC - 1 },
                { URL, 300, 0, 0, 300 * NSEC_PER_SEC },
                { URL, 0, 1, 0, 1 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ uint8_t *details = NULL;
                uint64_t delay_ns = 0, decided_ns;
                size_t size;

                details = make_details(cases[i].type_url, cases[i].seconds, cases[i].nanos, &size);
                assert_int_equal(retry_info_parse(details, size, &delay_ns), cases[i].r);
                assert_int_equal(delay_ns, cases[i].delay_ns);
                if (cases[i].r == 0 && cases[i].delay_ns > 0) {
                        const RetryAnswer answer = {
                                .code = GRPC_UNAVAILABLE, .told = true, .delay_ns = delay_ns, .message = ""
                        };

                        /* Never shortened, lengthened by up to an eighth, never below our own minimum. */
                        assert_int_equal(retry_decide(&answer, 9, 0, &decided_ns), RETRY_LATER);
                        assert_true(decided_ns == MAX(delay_ns, RETRY_DELAY_MIN_NS));
                        assert_int_equal(retry_decide(&answer, 9, UINT32_MAX / 2, &decided_ns), RETRY_LATER);
                        assert_true(delay_ns < RETRY_DELAY_MIN_NS || decided_ns - delay_ns - delay_ns / 16 + 9 < 18);
                        assert_int_equal(retry_decide(&answer, 9, UINT32_MAX, &decided_ns), RETRY_LATER);
                        assert_true(decided_ns == MAX(delay_ns + delay_ns / 8, RETRY_DELAY_MIN_NS));
                }
        }
}

static void truncated_anywhere(void **state) {
        _cleanup_free_ uint8_t *details = NULL;
        uint64_t delay_ns = 7;
        size_t size;

        (void) state;

        details = make_details(URL, 4, 1, &size);
        for (size_t len = 0; len < size; len++) {
                _cleanup_free_ uint8_t *exact = malloc(len ?: 1);

                assert_non_null(exact);
                memcpy(exact, details, len);
                assert_true(retry_info_parse(exact, len, &delay_ns) < 0);
                assert_int_equal(delay_ns, 7);
        }
        assert_int_equal(retry_info_parse(details, (size_t) RETRY_DETAILS_MAX + 1, &delay_ns), -EBADMSG);
}

static void partial(void **state) {
        static const struct {
                uint8_t bytes[16];
                size_t size;
                int r;
                uint64_t n_rejected;
                const char *message;
        } cases[] = {
                { {}, 0, 0, 0, "" },
                { { 0x0a, 0 }, 2, 0, 0, "" },
                { { 0x0a, 2, 0x08, 3 }, 4, 0, 3, "" },
                { { 0x0a, 6, 0x08, 3, 0x12, 2, 'n', 'o' }, 8, 0, 3, "no" },
                { { 0x0a, 4, 0x12, 2, 'n', 'o' }, 6, 0, 0, "no" },
                /* -1 */
                { { 0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 }, 13, 0, 0, "" },
                { { 0x0a, 3, 0x08, 3 }, 4, -EBADMSG, 0, "" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                RetryPartial got = {};

                assert_int_equal(retry_partial_parse(cases[i].bytes, cases[i].size, &got), cases[i].r);
                assert_int_equal(got.n_rejected, cases[i].n_rejected);
                assert_string_equal(got.message, cases[i].message);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(codes), cmocka_unit_test(too_large),          cmocka_unit_test(backoff),
                cmocka_unit_test(told),  cmocka_unit_test(truncated_anywhere), cmocka_unit_test(partial),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
