#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "blockcache.h"

static const uint8_t request[] = { 0x83, 0x86, 0xbe, 0xbf };
static const uint8_t reply[] = { 0x88, 0xc0 };
static const uint8_t trailers[] = { 0xc1 };

static void fits(void **state) {
        static const struct {
                const char *what;
                uint8_t block[4];
                size_t len;
                bool fits;
        } cases[] = {
                { "references", { 0x83, 0x86, 0xbe, 0xfe }, 4, true },
                { "nothing", {}, 0, false },
                { "a literal that is indexed", { 0x83, 0x40, 0x01, 0x61 }, 4, false },
                { "a literal that is not", { 0x83, 0x00 }, 2, false },
                { "a literal never indexed", { 0x10, 0x83 }, 2, false },
                { "a table size", { 0x20, 0x83 }, 2, false },
                { "an index of two bytes", { 0x83, 0xff, 0x80 }, 3, false },
        };
        uint8_t block[BLOCKCACHE_BLOCK_MAX + 1];

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                if (blockcache_fits(cases[i].block, cases[i].len) != cases[i].fits)
                        fail_msg("%s", cases[i].what);

        memset(block, 0x82, sizeof(block));
        assert_true(blockcache_fits(block, sizeof(block) - 1));
        assert_false(blockcache_fits(block, sizeof(block)));
}

static TapHeaders headers_of(const char *path, const char *status) {
        TapHeaders headers;

        tapheaders_clear(&headers);
        if (path)
                tapheaders_field(&headers, ":path", 5, path, strlen(path));
        if (status)
                tapheaders_field(&headers, "grpc-status", 11, status, strlen(status));
        return headers;
}

static void finds_what_was_put(void **state) {
        BlockCache cache = {};
        TapHeaders put = headers_of("/runtime.v1.RuntimeService/RunPodSandbox", NULL), failed = headers_of(NULL, "5"),
                   got;
        uint32_t size;

        (void) state;

        assert_false(blockcache_find(&cache, request, sizeof(request), &got, &size));
        blockcache_put(&cache, request, sizeof(request), &put, 321);
        blockcache_put(&cache, trailers, sizeof(trailers), &failed, 43);

        memset(&got, 0xa5, sizeof(got));
        assert_true(blockcache_find(&cache, request, sizeof(request), &got, &size));
        assert_int_equal(size, 321);
        assert_string_equal(got.path, put.path);
        assert_ptr_equal(got.method, put.method);
        assert_int_equal(got.grpc_status, -1);
        assert_string_equal(got.message, "");

        assert_true(blockcache_find(&cache, trailers, sizeof(trailers), &got, &size));
        assert_int_equal(got.grpc_status, 5);
        assert_string_equal(got.path, "");

        /* The beginning of a block is another block. */
        assert_false(blockcache_find(&cache, request, sizeof(request) - 1, &got, &size));
        assert_false(blockcache_find(&cache, reply, sizeof(reply), &got, &size));

        blockcache_clear(&cache);
        assert_false(blockcache_find(&cache, request, sizeof(request), &got, &size));
        assert_false(blockcache_find(&cache, trailers, sizeof(trailers), &got, &size));
}

/* Texts that do not come back from the entry are a reason not to make one. */
static void keeps_no_texts(void **state) {
        TapHeaders unknown = headers_of("/future.v2.Service/DoIt", NULL), message = headers_of(NULL, "2"), got;
        BlockCache cache = {};
        uint32_t size;

        (void) state;

        tapheaders_field(&message, "grpc-message", 12, "no", 2);
        blockcache_put(&cache, request, sizeof(request), &unknown, 1);
        blockcache_put(&cache, trailers, sizeof(trailers), &message, 1);
        assert_false(blockcache_find(&cache, request, sizeof(request), &got, &size));
        assert_false(blockcache_find(&cache, trailers, sizeof(trailers), &got, &size));
}

static void forgets_the_oldest(void **state) {
        TapHeaders headers = headers_of(NULL, "0"), got;
        BlockCache cache = {};
        uint32_t size;

        (void) state;

        for (uint8_t i = 0; i <= BLOCKCACHE_ENTRIES; i++) {
                const uint8_t block[] = { (uint8_t) (0x80 + i) };

                blockcache_put(&cache, block, sizeof(block), &headers, i);
        }
        for (uint8_t i = 0; i <= BLOCKCACHE_ENTRIES; i++) {
                const uint8_t block[] = { (uint8_t) (0x80 + i) };

                assert_int_equal(blockcache_find(&cache, block, sizeof(block), &got, &size), i > 0);
                if (i > 0)
                        assert_int_equal(size, i);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fits),
                cmocka_unit_test(finds_what_was_put),
                cmocka_unit_test(keeps_no_texts),
                cmocka_unit_test(forgets_the_oldest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
