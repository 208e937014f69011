#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exitstatus.h"
#include "otlp.pb-c.h"
#include "util.h"

typedef Podspan__Otlp__TracesData Traces;

/* Everything of the span that says how the process ended, as one line. */
static void describe(Span *span, char *ret, size_t size) {
        uint8_t *data;
        size_t n_data, n = 0;
        Traces *traces;
        const Podspan__Otlp__Span *encoded;

        assert_int_equal(span_encode("x", &span, 1, &data, &n_data), 0);
        traces = podspan__otlp__traces_data__unpack(NULL, n_data, data);
        free(data);
        assert_non_null(traces);
        encoded = traces->resource_spans[0]->scope_spans[0]->spans[0];
        ret[0] = '\0';
        for (size_t i = 0; i < encoded->n_attributes; i++) {
                const Podspan__Otlp__AnyValue *value = encoded->attributes[i]->value;

                if (value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE)
                        n += (size_t) snprintf(ret + n, size - n, "%s=%d ", encoded->attributes[i]->key,
                                               (int) value->int_value);
                else
                        n += (size_t) snprintf(ret + n, size - n, "%s=%s ", encoded->attributes[i]->key,
                                               value->string_value);
        }
        (void) snprintf(ret + n, size - n, "%d %s", encoded->status ? (int) encoded->status->code : 0,
                        encoded->status && encoded->status->message ? encoded->status->message : "");
        podspan__otlp__traces_data__free_unpacked(traces, NULL);
}

#define CODE(n)   "process.exit.code=" n " "
#define SIGNAL(s) "podspan.process.signal=" s " "
#define TYPE(s)   "error.type=" s " "

static void test_wait_status(void **state) {
        static const struct {
                int status; /* of wait(2) */
                const char *text, *expected;
        } cases[] = {
                { -1, "x", "0 " },
                { 0, "x", CODE("0") "0 " },
                { 1 << 8, NULL, CODE("1") TYPE("1") "2 " },
                { 255 << 8, "why", CODE("255") TYPE("255") "2 why" },
                { SIGKILL, NULL, CODE("137") SIGNAL("SIGKILL") TYPE("SIGKILL") "2 " },
                { SIGSEGV | 0x80, NULL, CODE("139") SIGNAL("SIGSEGV") TYPE("SIGSEGV") "2 " },
                { 34, NULL, CODE("162") SIGNAL("SIGRTMIN+0") TYPE("SIGRTMIN+0") "2 " },
                { 64, NULL, CODE("192") SIGNAL("SIGRTMIN+30") TYPE("SIGRTMIN+30") "2 " },
                { 32, NULL, CODE("160") SIGNAL("SIGUNKNOWN") TYPE("SIGUNKNOWN") "2 " },
                { SIGSTOP << 8 | 0x7f, NULL, "0 " }, /* stopped, not ended */
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                TraceContext context = { .trace_id = { 1 }, .span_id = { 1 } };
                char got[256];
                Span *span;

                assert_int_equal(span_new("x", SPAN_KIND_INTERNAL, &context, NULL, &span), 0);
                exitstatus_set_wait(span, cases[i].status, cases[i].text);
                describe(span, got, sizeof(got));
                assert_string_equal(got, cases[i].expected);
                span_free(span);
        }
}

static void test_code(void **state) {
        (void) state;
        assert_int_equal(exitstatus_code(0), 0);
        assert_int_equal(exitstatus_code(3 << 8), 3);
        assert_int_equal(exitstatus_code(SIGTERM), 143);
        assert_int_equal(exitstatus_code(SIGSTOP << 8 | 0x7f), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_wait_status),
                cmocka_unit_test(test_code),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
