#include "fixture.h"
#include "exportwire.h"
#include "retry.h"

static const ExportwireSetup whole = {
        .target = "dns:///localhost:4317",
        .tls = true,
        .gzip = true,
        .roots = "roots",
        .certificate = "certificate",
        .key = "key",
        .headers = { { "x-a", "1" }, { "x-b", "" } },
        .n_headers = 2,
};

static void setup_round_trip(void **state) {
        _cleanup_free_ uint8_t *data = NULL, *again = NULL;
        size_t size, again_size;
        ExportwireSetup got;

        (void) state;

        assert_int_equal(exportwire_setup_pack(&whole, &data, &size), 0);
        assert_int_equal(exportwire_setup_parse(data, size, &got), 0);
        assert_string_equal(got.target, whole.target);
        assert_true(got.tls && got.gzip);
        assert_string_equal(got.roots, "roots");
        assert_string_equal(got.certificate, "certificate");
        assert_string_equal(got.key, "key");
        assert_int_equal(got.n_headers, 2);
        assert_string_equal(got.headers[1].name, "x-b");
        assert_string_equal(got.headers[1].value, "");
        assert_int_equal(exportwire_setup_pack(&got, &again, &again_size), 0);
        assert_int_equal(size, again_size);
        assert_memory_equal(data, again, size);
}

static void setup_plain(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        ExportwireSetup got;

        (void) state;

        assert_int_equal(exportwire_setup_pack(&(ExportwireSetup){ .target = "unix:/x" }, &data, &size), 0);
        assert_int_equal(exportwire_setup_parse(data, size, &got), 0);
        assert_true(!got.tls && !got.gzip && !got.roots && !got.certificate && !got.key && got.n_headers == 0);
}

static void setup_truncated_anywhere(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        ExportwireSetup got = { .target = "before" };
        size_t size, n_good = 0;

        (void) state;

        assert_int_equal(exportwire_setup_pack(&whole, &data, &size), 0);
        for (size_t len = 0; len < size; len++) {
                _cleanup_free_ uint8_t *exact = malloc(len ?: 1);
                ExportwireSetup part = got;

                assert_non_null(exact);
                memcpy(exact, data, len);
                /* Between two items it is a shorter set-up; nowhere else it is any. */
                if (exportwire_setup_parse(exact, len, &part) == 0)
                        n_good++;
                else
                        assert_string_equal(part.target, "before");
        }
        assert_int_equal(n_good, 7);
}

static void setup_limits(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_free_ char *large = malloc(EXPORTWIRE_SETUP_MAX);
        ExportwireSetup setup = { .target = "t", .roots = large };
        uint8_t many[(CONFIG_HEADERS_MAX + 1) * 20];
        size_t n = 0, size;

        (void) state;

        assert_non_null(large);
        memset(large, 'a', EXPORTWIRE_SETUP_MAX - 1);
        large[EXPORTWIRE_SETUP_MAX - 1] = '\0';
        assert_int_equal(exportwire_setup_pack(&setup, &data, &size), -E2BIG);

        for (unsigned i = 0; i <= CONFIG_HEADERS_MAX; i++)
                for (uint32_t kind = 7; kind <= 8; kind++) {
                        const uint32_t item[] = { kind, 2 };

                        memcpy(many + n, item, sizeof(item));
                        memcpy(many + n + sizeof(item), "x", 2);
                        n += sizeof(item) + 2;
                }
        assert_int_equal(exportwire_setup_parse(many, n, &setup), -EBADMSG);
}

/* What podspan-export may say, and everything else. */
static void answers(void **state) {
        const ExportwireAnswer good = { .type = EXPORTWIRE_ANSWER,
                                        .code = 8,
                                        .told = 1,
                                        .delay_ns = RETRY_INFO_MAX_NS,
                                        .message = "zu gro\u00df" };
        ExportwireAnswer bad, got;

        (void) state;

        assert_int_equal(exportwire_answer_parse(&good, sizeof(good), &got), 0);
        assert_memory_equal(&good, &got, sizeof(good));
        for (size_t len = 0; len < sizeof(good); len++)
                assert_int_equal(exportwire_answer_parse(&good, len, &got), -EBADMSG);

#define REFUSED(change)                                                                       \
        do {                                                                                  \
                bad = good;                                                                   \
                change;                                                                       \
                assert_int_equal(exportwire_answer_parse(&bad, sizeof(bad), &got), -EBADMSG); \
        } while (0)
        REFUSED(bad.type = EXPORTWIRE_START);
        REFUSED(bad.code = _GRPC_STATUS_MAX);
        REFUSED(bad.code = UINT32_MAX);
        REFUSED(bad.local = 2);
        REFUSED(bad.told = 255);
        REFUSED(bad.response_bad = 3);
        REFUSED(bad.delay_ns = RETRY_INFO_MAX_NS + 1);
        REFUSED(bad.delay_ns = UINT64_MAX);
        REFUSED(memset(bad.message, 'a', sizeof(bad.message)));
        REFUSED(memset(bad.partial, 'a', sizeof(bad.partial)));
        REFUSED(bad.message[0] = (char) 0xff);
        REFUSED(bad.partial[0] = (char) 0x80);
}

static void orders(void **state) {
        ExportwireOrder order = { .type = EXPORTWIRE_START, .size = EXPORTWIRE_REQUEST_MAX, .timeout_ns = 1 }, got;

        (void) state;

        assert_int_equal(exportwire_order_parse(&order, sizeof(order), &got), 0);
        assert_int_equal(exportwire_order_parse(&order, sizeof(order) - 1, &got), -EBADMSG);
        order.size++;
        assert_int_equal(exportwire_order_parse(&order, sizeof(order), &got), -EBADMSG);
        order = (ExportwireOrder){ .type = EXPORTWIRE_SETUP, .size = EXPORTWIRE_SETUP_MAX + 1 };
        assert_int_equal(exportwire_order_parse(&order, sizeof(order), &got), -EBADMSG);
        order = (ExportwireOrder){ .type = EXPORTWIRE_ANSWER };
        assert_int_equal(exportwire_order_parse(&order, sizeof(order), &got), -EBADMSG);
}

static void texts(void **state) {
        char text[EXPORTWIRE_MESSAGE_MAX], large[2 * EXPORTWIRE_MESSAGE_MAX];

        (void) state;

        exportwire_set_text(text,
                            "a\xff\xfe"
                            "b",
                            4);
        assert_string_equal(text, "a??b");
        memset(large, 'x', sizeof(large));
        exportwire_set_text(text, large, sizeof(large));
        assert_int_equal(strlen(text), EXPORTWIRE_MESSAGE_MAX - 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(setup_round_trip),
                cmocka_unit_test(setup_plain),
                cmocka_unit_test(setup_truncated_anywhere),
                cmocka_unit_test(setup_limits),
                cmocka_unit_test(answers),
                cmocka_unit_test(orders),
                cmocka_unit_test(texts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
