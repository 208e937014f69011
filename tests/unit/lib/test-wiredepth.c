#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "otlp.pb-c.h"
#include "util.h"
#include "wiredepth.h"

#define MESSAGE (&podspan__otlp__any_value__descriptor)

/* AnyValue { array_value { values { … } } }: two levels for every four bytes, lengths in one byte. */
static size_t nest(uint8_t *buffer, size_t n) {
        size_t size = 0;

        for (size_t i = 0; i < n; i++) {
                memmove(buffer + 4, buffer, size);
                buffer[0] = 5 << 3 | 2;
                buffer[1] = (uint8_t) (size + 2);
                buffer[2] = 1 << 3 | 2;
                buffer[3] = (uint8_t) size;
                size += 4;
        }
        return size;
}

static void depth(void **state) {
        uint8_t buffer[128];

        (void) state;

        for (size_t n = 0; n < 30; n++) {
                size_t size = nest(buffer, n);

                assert_int_equal(wiredepth_check(MESSAGE, buffer, size, (unsigned) (2 * n + 1)), 0);
                assert_int_equal(wiredepth_check(MESSAGE, buffer, size, (unsigned) (2 * n)), -ELOOP);
        }
}

static void malformed(void **state) {
        static const struct {
                const char *what;
                uint8_t bytes[16];
                size_t size;
                int r;
        } cases[] = {
                { "nothing", {}, 0, 0 },
                { "varint", { 2 << 3, 1 }, 2, 0 },
                { "varint missing", { 2 << 3 }, 1, -EBADMSG },
                { "varint cut", { 2 << 3, 0x80 }, 2, -EBADMSG },
                { "varint of 11",
                  { 2 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 },
                  12,
                  -EBADMSG },
                { "fixed64 cut", { 4 << 3 | 1, 0, 0, 0, 0, 0, 0, 0 }, 8, -EBADMSG },
                { "fixed32 cut", { 9 << 3 | 5, 0, 0, 0 }, 4, -EBADMSG },
                { "string", { 1 << 3 | 2, 2, 'a', 'b' }, 4, 0 },
                { "string cut", { 1 << 3 | 2, 3, 'a', 'b' }, 4, -EBADMSG },
                { "length of 2^64 - 1",
                  { 1 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 },
                  11,
                  -EBADMSG },
                { "group", { 1 << 3 | 3 }, 1, -EBADMSG },
                { "wire type 7", { 1 << 3 | 7 }, 1, -EBADMSG },
                { "field 0", { 0, 1 }, 2, -EBADMSG },
                { "field 0 in two bytes", { 0x85, 0, 1, 2, 3, 4 }, 6, -EBADMSG },
                { "field 2^29", { 0x80, 0x80, 0x80, 0x80, 0x10, 1 }, 6, -EBADMSG },
                { "field 2^29 - 1", { 0xf8, 0xff, 0xff, 0xff, 0x0f, 1 }, 6, 0 },
                { "unknown field", { 15 << 3 | 2, 1, 0xff }, 3, 0 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ uint8_t *exact = malloc(cases[i].size ?: 1);
                int r;

                assert_non_null(exact);
                memcpy(exact, cases[i].bytes, cases[i].size);
                r = wiredepth_check(MESSAGE, exact, cases[i].size, 8);
                if (r != cases[i].r)
                        fail_msg("%s: got %d, expected %d", cases[i].what, r, cases[i].r);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(depth),
                cmocka_unit_test(malformed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
