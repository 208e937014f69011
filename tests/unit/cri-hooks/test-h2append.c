#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <nghttp2/nghttp2.h>
#include "h2append.h"
#include "hpackdec.h"

#define VALUE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

typedef struct Last {
        unsigned n;
        char name[64];
        char value[128];
} Last;

static void on_field(void *userdata, const char *name, size_t n_name, const char *value, size_t n_value) {
        Last *last = userdata;

        last->n++;
        (void) snprintf(last->name, sizeof(last->name), "%.*s", (int) n_name, name);
        (void) snprintf(last->value, sizeof(last->value), "%.*s", (int) n_value, value);
}

/* One block of ":method: GET" (static index 2), as a frame with @padding, changed, and what then comes out of it. */
static void append_to(uint8_t type, uint8_t padding, uint32_t max_frame_size, unsigned expect_frames) {
        uint8_t in[9 + 1 + 1 + 255] = {}, out[sizeof(in) + H2APPEND_MAX];
        H2Frame frame = {
                .length = 1U + (padding ? 1U + padding : 0U),
                .type = type,
                .flags = H2FRAME_END_HEADERS | (padding ? H2FRAME_PADDED : 0),
                .stream = 5,
        };
        size_t n_in = 9 + frame.length, n_out, at = 0;
        H2Append plan;
        HpackDec dec;
        Last last = {};
        unsigned n_frames = 0;

        h2frame_write(&frame, in);
        if (padding)
                in[9] = padding;
        in[9 + (padding ? 1 : 0)] = 0x82;

        assert_int_equal(h2append_plan(&frame, padding, max_frame_size, "traceparent", VALUE, &plan), 0);
        memcpy(out, plan.head, 9);
        memcpy(out + 9, in + 9, plan.at - 9);
        memcpy(out + plan.at, plan.bytes, plan.size);
        memcpy(out + plan.at + plan.size, in + plan.at, n_in - plan.at);
        n_out = n_in + plan.size;

        assert_int_equal(hpackdec_init(&dec), 0);
        while (at < n_out) {
                H2FrameReader reader = {};
                H2Frame f;
                bool complete;
                uint8_t pad = 0;

                at += h2frame_read(&reader, out + at, n_out - at, &f, &complete);
                assert_true(complete);
                assert_true(f.length <= max_frame_size || n_frames == 0);
                assert_true(f.length <= n_out - at);
                assert_int_equal(f.stream, 5);
                assert_int_equal(f.type, n_frames == 0 ? type : H2FRAME_CONTINUATION);
                if (f.flags & H2FRAME_PADDED)
                        pad = out[at++], f.length--;
                assert_int_equal(pad, n_frames == 0 ? padding : 0);
                assert_int_equal(hpackdec_fragment(&dec, out + at, f.length - pad, false, on_field, &last), 0);
                for (uint32_t i = f.length - pad; i < f.length; i++)
                        assert_int_equal(out[at + i], 0);
                at += f.length;
                n_frames++;
                assert_int_equal(!!(f.flags & H2FRAME_END_HEADERS), at == n_out);
        }
        assert_int_equal(hpackdec_fragment(&dec, NULL, 0, true, on_field, &last), 0);
        hpackdec_deinit(&dec);

        assert_int_equal(n_frames, expect_frames);
        assert_int_equal(last.n, 2);
        assert_string_equal(last.name, "traceparent");
        assert_string_equal(last.value, VALUE);
}

static void appends(void **state) {
        (void) state;
        append_to(H2FRAME_HEADERS, 0, 16384, 1);
        append_to(H2FRAME_CONTINUATION, 0, 16384, 1);
        append_to(H2FRAME_HEADERS, 1, 16384, 1);
        append_to(H2FRAME_HEADERS, 255, 16384, 1);
        append_to(H2FRAME_HEADERS, 0, 70, 1); /* 1 + 69 is just enough */
        append_to(H2FRAME_HEADERS, 0, 69, 2);
        append_to(H2FRAME_HEADERS, 200, 210, 2);
}

static void refusals(void **state) {
        H2Frame f = { .length = 4, .type = H2FRAME_HEADERS, .flags = H2FRAME_END_HEADERS, .stream = 1 };
        H2Append plan;
        char longer[H2APPEND_VALUE_MAX + 2];

        (void) state;
        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = 0;
        assert_int_equal(h2append_plan(&f, 0, 16384, "n", longer, &plan), -EINVAL);
        assert_int_equal(h2append_plan(&f, 0, 16384, "n", "", &plan), -EINVAL);
        assert_int_equal(h2append_plan(&f, 5, 16384, "n", "v", &plan), -EINVAL);
        f.flags = 0;
        assert_int_equal(h2append_plan(&f, 0, 16384, "n", "v", &plan), -EINVAL);
        f.flags = H2FRAME_END_HEADERS;
        f.type = H2FRAME_DATA;
        assert_int_equal(h2append_plan(&f, 0, 16384, "n", "v", &plan), -EINVAL);
}

/* Any cut of a header gives the same header. */
static void headers(void **state) {
        H2Frame in = { .length = 0x123456, .type = 9, .flags = 0x5a, .stream = 0x7fffffff };
        uint8_t raw[9];

        (void) state;
        h2frame_write(&in, raw);
        for (size_t cut = 0; cut <= 9; cut++) {
                H2FrameReader reader = {};
                H2Frame out = {};
                bool complete = false;

                assert_int_equal(h2frame_read(&reader, raw, cut, &out, &complete), cut);
                assert_int_equal(complete, cut == 9);
                if (cut < 9)
                        assert_int_equal(h2frame_read(&reader, raw + cut, 9 - cut, &out, &complete), 9 - cut);
                assert_true(complete);
                assert_int_equal(out.length, in.length);
                assert_int_equal(out.type, in.type);
                assert_int_equal(out.flags, in.flags);
                assert_int_equal(out.stream, in.stream);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(appends),
                cmocka_unit_test(refusals),
                cmocka_unit_test(headers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
