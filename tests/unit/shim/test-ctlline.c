#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ctlline.h"
#include "../exact.h"
#include "util.h"

static const struct {
        const char *in;
        int r;
        CtlLine line;
} lines[] = {
        { "1 24 80", 0, { CTL_RESIZE, 24, 80 } },
        { "2 0 0", 0, { CTL_REOPEN, 0, 0 } },
        { "1 1000 1000", 0, { CTL_RESIZE, 1000, 1000 } },
        { "  1\t024  0080", 0, { CTL_RESIZE, 24, 80 } },
        { "+1 +2 +3", 0, { CTL_RESIZE, 2, 3 } },
        { "2 0 0 and more", 0, { CTL_REOPEN, 0, 0 } },
        { "2 0 0x", 0, { CTL_REOPEN, 0, 0 } },
        { "1 24 80.5", 0, { CTL_RESIZE, 24, 80 } },
        { "", -EBADMSG, {} },
        { "1", -EBADMSG, {} },
        { "1 24", -EBADMSG, {} },
        { "1 24 ", -EBADMSG, {} },
        { "0 0 0", -EBADMSG, {} },
        { "3 0 0", -EBADMSG, {} },
        { "1 1001 1", -EBADMSG, {} },
        { "1 1 1001", -EBADMSG, {} },
        { "1 -1 1", -EBADMSG, {} },
        { "0x1 1 1", -EBADMSG, {} },
        { "1.5 1 1", -EBADMSG, {} },
        { "1 99999999999999999999 1", -EBADMSG, {} },
        { "x 1 1", -EBADMSG, {} },
        { "1 1 x", -EBADMSG, {} },
};

static void test_lines(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                _cleanup_free_ char *in = exact(lines[i].in, strlen(lines[i].in));
                CtlLine line = {};
                int r = ctlline_parse(in, strlen(lines[i].in), &line);

                if (r != lines[i].r || memcmp(&line, &lines[i].line, sizeof(line)) != 0)
                        fail_msg("%s: %d, %d %u %u", lines[i].in, r, line.type, line.height, line.width);
        }
}

static void test_winsz(_unused_ void **userdata) {
        CtlLine line;

        assert_int_equal(ctlline_parse_winsz("24 80", 5, &line), 0);
        assert_int_equal(line.type, CTL_RESIZE);
        assert_int_equal(line.height, 24);
        assert_int_equal(line.width, 80);
        for (size_t len = 0; len < 4; len++)
                assert_int_equal(ctlline_parse_winsz("24 80", len, &line), -EBADMSG);
}

typedef struct Seen {
        char text[4096];
        size_t len;
} Seen;

static void on_line(void *userdata, const char *s, size_t len) {
        Seen *seen = userdata;

        seen->len += (size_t) snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, "[%.*s]", (int) len, s);
}

/* However the bytes come, the lines are the same; one that is too long falls out, whole. */
static void test_feed(_unused_ void **userdata) {
        char in[1024], expected[] = "[1 2 3][][2 0 0][last]";
        size_t len;

        len = (size_t) snprintf(in, sizeof(in), "1 2 3\n\n");
        memset(in + len, 'x', 300);
        len += 300;
        len += (size_t) snprintf(in + len, sizeof(in) - len, "\n2 0 0\nlast\nunfinished");

        for (size_t step = 1; step <= len; step++) {
                CtlBuffer buffer = {};
                Seen seen = {};

                for (size_t at = 0; at < len; at += step) {
                        size_t n = MIN(step, len - at);
                        _cleanup_free_ char *part = exact(in + at, n);

                        ctlline_feed(&buffer, part, n, on_line, &seen);
                }
                assert_string_equal(seen.text, expected);
                assert_int_equal(buffer.n_overlong, 1);
        }
}

static void test_longest(_unused_ void **userdata) {
        char in[CTLLINE_MAX + 3];

        for (size_t n = CTLLINE_MAX - 1; n <= CTLLINE_MAX + 1; n++) {
                CtlBuffer buffer = {};
                Seen seen = {};

                memset(in, 'y', n);
                in[n] = '\n';
                ctlline_feed(&buffer, in, n + 1, on_line, &seen);
                assert_int_equal(seen.len, n <= CTLLINE_MAX ? n + 2 : 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_winsz),
                cmocka_unit_test(test_feed),
                cmocka_unit_test(test_longest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
