#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "criversion.h"

/* As containerd answers: SETTINGS, its acknowledgement, HEADERS, DATA, trailers. */
#define SETTINGS "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"
#define ACK      "\x00\x00\x00\x04\x01\x00\x00\x00\x00"
#define HEADERS  "\x00\x00\x02\x01\x04\x00\x00\x00\x01\x88\x5f"
#define BODY         \
        "\x0a\x05"   \
        "0.1.0"      \
        "\x12\x0a"   \
        "containerd" \
        "\x1a\x07"   \
        "v1.7.20"    \
        "\x22\x02"   \
        "v1" /* 32 bytes */
#define DATA   "\x00\x00\x25\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x20" BODY
#define PADDED "\x00\x00\x29\x00\x08\x00\x00\x00\x01\x03\x00\x00\x00\x00\x20" BODY "\0\0\0"
#define HALVES                                                 \
        "\x00\x00\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00" \
        "\x00\x00\x21\x00\x00\x00\x00\x00\x01\x20" BODY
#define OTHER                                  \
        "\x00\x00\x03\x00\x00\x00\x00\x00\x03" \
        "abc" /* DATA of another stream */

#define CASE(text, r) \
        { text, sizeof(text) - 1, r }

static const struct {
        const char *s;
        size_t n;
        int r;
} cases[] = {
        CASE(SETTINGS ACK HEADERS DATA, 1),
        CASE(SETTINGS ACK HEADERS PADDED, 1),
        CASE(SETTINGS OTHER HALVES, 1),
        CASE(SETTINGS ACK HEADERS, 0),
        CASE(SETTINGS "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02", -EBADMSG), /* RST_STREAM */
        CASE(SETTINGS "\x00\x00\x08\x07\x00\x00\x00\x00\x00\0\0\0\0\0\0\0\1", -EBADMSG), /* GOAWAY */
        CASE("HTTP/1.1 400 Bad Request\r\n", -EBADMSG),
        CASE("\x00\x00\x05\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00", -EBADMSG), /* no names */
        CASE("\x00\x00\x05\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00", -EBADMSG), /* compressed */
        CASE("\x00\x00\x05\x00\x00\x00\x00\x00\x01\x00\x7f\xff\xff\xff", -EBADMSG), /* huge */
        CASE("\x00\x00\x01\x00\x08\x00\x00\x00\x01\x05", -EBADMSG),                 /* more padding than bytes */
        CASE("\x00\x00\x07\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x02\x12\x7f",
             -EBADMSG),                                                                 /* a string beyond the end */
        CASE("\x00\x00\x06\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01\x13", -EBADMSG), /* a group */
        CASE("", 0),
};

static void test_replies(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Criversion answer = { "untouched", "" };
                int r = criversion_parse((const uint8_t *) cases[i].s, cases[i].n, &answer);

                if (r != cases[i].r)
                        fail_msg("%zu: %d", i, r);
                assert_string_equal(answer.name, r == 1 ? "containerd" : "untouched");
                assert_string_equal(answer.version, r == 1 ? "v1.7.20" : "");
        }
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 0; n < cases[i].n; n++) {
                        _cleanup_free_ uint8_t *exact = malloc(n + 1);
                        Criversion answer;
                        int r;

                        assert_non_null(exact);
                        memcpy(exact, cases[i].s, n);
                        r = criversion_parse(exact, n, &answer);
                        assert_true(r == 0 || r == cases[i].r);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_replies),
                cmocka_unit_test(test_truncated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
