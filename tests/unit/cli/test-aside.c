#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "aside.h"

static void answer(int out, void *userdata) {
        (void) util_write_all(out, userdata, strlen(userdata));
}

static void hang(int out _unused_, void *userdata _unused_) {
        for (;;)
                (void) pause();
}

static void hang_later(int out, void *userdata) {
        (void) util_write_all(out, userdata, 2);
        hang(out, userdata);
}

static void test_answer(void **state) {
        Asides asides = {};
        char buf[16] = "";

        (void) state;
        assert_int_equal(aside_ask(&asides, answer, (char[]){ "hello" }, buf, sizeof(buf)), 5);
        assert_string_equal(buf, "hello");
        assert_int_equal(aside_ask(&asides, answer, (char[]){ "" }, buf, sizeof(buf)), 0);
        assert_int_equal(asides.lost_ns, 0);
}

/* Only so long, in all, is waited for those that do not answer. */
static void test_silence(void **state) {
        Asides asides = {};
        char buf[16];
        Aside aside = ASIDE_NULL;
        unsigned n = 0;
        ssize_t r;

        (void) state;
        while ((r = aside_ask(&asides, hang, NULL, buf, sizeof(buf))) == -ETIMEDOUT)
                assert_true(++n <= ASIDE_LOST_NS / ASIDE_ANSWER_NS);
        assert_int_equal(r, -EBUSY);
        assert_true(n > 0);

        asides.lost_ns = 0;
        assert_int_equal(aside_start(&asides, hang_later, (char[]){ "ab" }, &aside), 0);
        assert_int_equal(aside_read(&aside, buf, 2), 0);
        assert_int_equal(aside_read(&aside, buf, 1), -ETIMEDOUT);
        aside_end(&aside);
        aside_end(&aside);
        assert_int_equal(aside_start(&asides, answer, (char[]){ "ab" }, &aside), 0);
        assert_int_equal(aside_read(&aside, buf, 3), -EPIPE);
        aside_end(&aside);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_answer), cmocka_unit_test(test_silence) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
