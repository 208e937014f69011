#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "envcarrier.h"
#include "util.h"

#define VALID "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OTHER "00-11111111111111111111111111111111-2222222222222222-00"

static const struct {
        const char *what;
        char *envp[6];
        int r;
        const char *tracestate;
} environments[] = {
        { "nothing", { NULL }, -ENOENT, NULL },
        { "other names", { (char *) "PATH=/bin", (char *) "TRACEPARENTS=" VALID, NULL }, -ENOENT, NULL },
        { "lower case", { (char *) "traceparent=" VALID, NULL }, -ENOENT, NULL },
        { "name without a value", { (char *) "TRACEPARENT", NULL }, -ENOENT, NULL },
        { "well-formed", { (char *) "A=1", (char *) "TRACEPARENT=" VALID, NULL }, 0, NULL },
        { "the first wins", { (char *) "TRACEPARENT=" VALID, (char *) "TRACEPARENT=x", NULL }, 0, NULL },
        { "empty", { (char *) "TRACEPARENT=", NULL }, -EBADMSG, NULL },
        { "malformed", { (char *) "TRACEPARENT=00-00-00-00", (char *) "TRACESTATE=a=1", NULL }, -EBADMSG, NULL },
        { "with a state", { (char *) "TRACESTATE=a=1,b=2", (char *) "TRACEPARENT=" VALID, NULL }, 0, "a=1,b=2" },
        { "malformed state", { (char *) "TRACESTATE=a", (char *) "TRACEPARENT=" VALID, NULL }, 0, NULL },
        { "empty state", { (char *) "TRACESTATE=", (char *) "TRACEPARENT=" VALID, NULL }, 0, NULL },
};

static void gets(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(environments); i++) {
                const char *tracestate = "untouched";
                TraceContext context = { .flags = 0x77 };
                int r;

                r = envcarrier_get(environments[i].envp, &context, &tracestate);
                if (r != environments[i].r)
                        fail_msg("%s: got %d, expected %d", environments[i].what, r, environments[i].r);
                if (r < 0) {
                        assert_int_equal(context.flags, 0x77);
                        assert_string_equal(tracestate, "untouched");
                        continue;
                }
                assert_int_equal(context.flags, TRACECONTEXT_SAMPLED);
                if (environments[i].tracestate)
                        assert_string_equal(tracestate, environments[i].tracestate);
                else
                        assert_null(tracestate);
                assert_int_equal(envcarrier_get(environments[i].envp, &context, NULL), 0);
        }
}

static void state_too_long(void **state) {
        _cleanup_free_ char *variable = malloc(16 + TRACECONTEXT_TRACESTATE_MAX);
        char *envp[] = { (char *) "TRACEPARENT=" VALID, variable, NULL };
        const char *tracestate;
        TraceContext context;
        size_t len;

        (void) state;

        assert_non_null(variable);
        strcpy(variable, "TRACESTATE=a=1");
        len = strlen(variable);
        memset(variable + len, ',', TRACECONTEXT_TRACESTATE_MAX - 3);
        variable[len + TRACECONTEXT_TRACESTATE_MAX - 3] = '\0';
        assert_int_equal(envcarrier_get(envp, &context, &tracestate), 0);
        assert_ptr_equal(tracestate, variable + strlen("TRACESTATE="));

        strcat(variable, ",");
        assert_int_equal(envcarrier_get(envp, &context, &tracestate), 0);
        assert_null(tracestate);
}

static void expect(char *const *child, const char *const *expected) {
        size_t i;

        for (i = 0; expected[i]; i++) {
                assert_non_null(child[i]);
                assert_string_equal(child[i], expected[i]);
        }
        assert_null(child[i]);
}

static void children(void **state) {
        char *envp[] = { (char *) "A=1",
                         (char *) "TRACEPARENT=" VALID,
                         (char *) "TRACESTATE=x=1",
                         (char *) "BAGGAGE=k=v",
                         (char *) "BAGGAGE=2",
                         (char *) "Z=2",
                         NULL };
        const char *const replaced[] = { "A=1", "BAGGAGE=k=v", "Z=2", "TRACEPARENT=" OTHER, "TRACESTATE=y=2", NULL };
        const char *const no_state[] = { "A=1", "BAGGAGE=k=v", "Z=2", "TRACEPARENT=" OTHER, NULL };
        const char *const stripped[] = { "A=1", "BAGGAGE=k=v", "Z=2", NULL };
        const char *const alone[] = { "TRACEPARENT=" OTHER, "TRACESTATE=y=2", NULL };
        TraceContext context;
        char **child;

        (void) state;

        assert_int_equal(tracecontext_parse(OTHER, strlen(OTHER), &context), 0);

        assert_int_equal(envcarrier_child(envp, &context, "y=2", &child), 0);
        expect(child, replaced);
        free(child);

        assert_int_equal(envcarrier_child(envp, &context, NULL, &child), 0);
        expect(child, no_state);
        free(child);

        /* a malformed state is not handed on */
        assert_int_equal(envcarrier_child(envp, &context, "=", &child), 0);
        expect(child, no_state);
        free(child);

        assert_int_equal(envcarrier_child(envp, NULL, "y=2", &child), 0);
        expect(child, stripped);
        free(child);

        assert_int_equal(envcarrier_child(NULL, &context, "y=2", &child), 0);
        expect(child, alone);
        free(child);
}

static void baggage_too_long(void **state) {
        static char baggage[sizeof("BAGGAGE=") + ENVCARRIER_BAGGAGE_MAX + 1];
        char *envp[] = { baggage, NULL };
        char **child;

        (void) state;

        memset(baggage, 'b', sizeof(baggage) - 1);
        memcpy(baggage, "BAGGAGE=", strlen("BAGGAGE="));
        assert_int_equal(strlen(baggage), strlen("BAGGAGE=") + ENVCARRIER_BAGGAGE_MAX + 1);
        assert_int_equal(envcarrier_child(envp, NULL, NULL, &child), 0);
        assert_null(child[0]);
        free(child);

        baggage[sizeof(baggage) - 2] = '\0';
        assert_int_equal(envcarrier_child(envp, NULL, NULL, &child), 0);
        assert_ptr_equal(child[0], baggage);
        assert_null(child[1]);
        free(child);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(gets),
                cmocka_unit_test(state_too_long),
                cmocka_unit_test(children),
                cmocka_unit_test(baggage_too_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
