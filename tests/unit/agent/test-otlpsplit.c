#include "fixture.h"
#include "otlp.pb-c.h"
#include "otlpsplit.h"

/* Two resources; the first has two scopes: spans a b | c, the second d e f. Fields that nobody knows among them. */
static const uint8_t traces[] = {
        0x0a, 31,                                                                           /* resource_spans */
        0x0a, 0,                                                                            /* its resource */
        0x12, 15, 0x12, 5,  0x2a, 1, 'a',  0x30, 2,   0x12, 3, 0x2a, 1, 'b', 0x98, 0x06, 1, /* 99: 1 */
        0x12, 7,  0x12, 3,  0x2a, 1, 'c',  0x0a, 0,                                         /* its scope */
        0x1a, 1,  'u',                                                                      /* schema_url */
        0x0a, 17, 0x12, 15, 0x12, 3, 0x2a, 1,    'd', 0x12, 3, 0x2a, 1, 'e', 0x12, 3,    0x2a, 1, 'f',
};

/* The names of all spans, by protobuf-c, which is not our reader. */
static void names_of(const uint8_t *data, size_t size, char *ret) {
        Podspan__Otlp__TracesData *got = podspan__otlp__traces_data__unpack(NULL, size, data);
        size_t n = 0;

        assert_non_null(got);
        for (size_t i = 0; i < got->n_resource_spans; i++) {
                const Podspan__Otlp__ResourceSpans *resource = got->resource_spans[i];

                assert_true(resource->n_scope_spans > 0);
                for (size_t j = 0; j < resource->n_scope_spans; j++) {
                        assert_true(resource->scope_spans[j]->n_spans > 0);
                        for (size_t k = 0; k < resource->scope_spans[j]->n_spans; k++)
                                ret[n++] = resource->scope_spans[j]->spans[k]->name[0];
                }
        }
        ret[n] = '\0';
        podspan__otlp__traces_data__free_unpacked(got, NULL);
}

static void every_range(void **state) {
        static const char all[] = "abcdef";

        (void) state;

        for (size_t first = 0; first < 8; first++)
                for (size_t n = 0; n < 8; n++) {
                        _cleanup_free_ uint8_t *part = NULL;
                        char want[8] = "", got[8];
                        size_t size, n_got;

                        for (size_t i = first; i < first + n && i < 6; i++)
                                strncat(want, all + i, 1);
                        assert_int_equal(otlpsplit_take(traces, sizeof(traces), first, n, &part, &size, &n_got), 0);
                        names_of(part, size, got);
                        assert_string_equal(got, want);
                        assert_int_equal(n_got, strlen(want));
                        assert_true(size <= sizeof(traces));
                }
}

static void whole_is_unchanged(void **state) {
        _cleanup_free_ uint8_t *part = NULL;
        size_t size, n;

        (void) state;

        assert_int_equal(otlpsplit_take(traces, sizeof(traces), 0, SIZE_MAX, &part, &size, &n), 0);
        assert_int_equal(n, 6);
        assert_int_equal(size, sizeof(traces));
        assert_memory_equal(part, traces, size);
}

static void truncated_anywhere(void **state) {
        (void) state;

        for (size_t len = 0; len < sizeof(traces); len++) {
                _cleanup_free_ uint8_t *exact = malloc(len ?: 1), *part = NULL;
                size_t size, n;
                int r;

                assert_non_null(exact);
                memcpy(exact, traces, len);
                r = otlpsplit_take(exact, len, 1, 3, &part, &size, &n);
                assert_int_equal(r, len == 0 || len == 33 ? 0 : -EBADMSG);
        }
}

static void malformed(void **state) {
        static const struct {
                uint8_t bytes[12];
                size_t size;
        } cases[] = {
                { { 0x0b }, 1 },                                                           /* group */
                { { 0x02, 0 }, 2 },                                                        /* field 0 */
                { { 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 }, 11 }, /* length of 2^64 - 1 */
                { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 }, 12 }, /* endless varint */
                { { 0x09, 1, 2, 3 }, 4 }, /* fixed64 of 3 bytes */
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ uint8_t *part = NULL;
                size_t size, n;

                assert_int_equal(otlpsplit_take(cases[i].bytes, cases[i].size, 0, 1, &part, &size, &n), -EBADMSG);
                assert_null(part);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_range),
                cmocka_unit_test(whole_is_unchanged),
                cmocka_unit_test(truncated_anywhere),
                cmocka_unit_test(malformed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
