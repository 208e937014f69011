#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "state.h"
#include "yajlmem.h"

void *__real_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *p, size_t size);

static int n_left = -1; /* allocations that succeed; negative: all do */

static int fails(void) {
        if (n_left < 0)
                return 0;
        return n_left == 0 || n_left-- == 0;
}

void *__wrap_malloc(size_t size) {
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size) {
        return fails() ? NULL : __real_realloc(p, size);
}

/* An escaped string for its buffer, and cut so that the lexer keeps a part. */
static const char text[] = "{\"id\":\"c1\",\"x\":[[[\"a\\u0041b\"]]],\"pid\":7}";

/* Returns how parsing @text in pieces of @piece bytes ends. */
static int parse(size_t piece, int n) {
        StateParser *parser;
        State state;
        int r = 0;

        n_left = n;
        parser = state_parser_new(&state, NULL);
        for (size_t at = 0; parser && r == 0 && at < sizeof(text) - 1; at += piece)
                r = state_parser_feed(parser, (const uint8_t *) text + at, MIN(piece, sizeof(text) - 1 - at));
        if (!parser)
                r = -ENOMEM;
        n_left = -1;
        state_parser_free(parser);
        return r;
}

/* Whichever allocation is the first to fail, the answer is -ENOMEM, and nothing is dereferenced. */
static void every_allocation_may_fail(void **state) {
        (void) state;

        for (size_t piece = 1; piece < sizeof(text); piece++) {
                int n = 0, r;

                while ((r = parse(piece, n)) == -ENOMEM)
                        n++;
                assert_int_equal(r, 1);
                assert_true(n >= 4);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_allocation_may_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
