#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "resync.h"
#include "clk.h"

static const char stat_line[] = "812 (con) mon) S 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2 3\n";

static int parse(const char *s, size_t len, char comm[static EVENT_COMM_SIZE], uint64_t *start_ns) {
        _cleanup_free_ char *exact = malloc(len > 0 ? len : 1);

        assert_non_null(exact);
        memcpy(exact, s, len);
        return resync_parse_stat(exact, len, comm, start_ns);
}

static void whole(void **state) {
        char comm[EVENT_COMM_SIZE];
        uint64_t start_ns;

        (void) state;
        assert_int_equal(parse(stat_line, sizeof(stat_line) - 1, comm, &start_ns), 0);
        assert_string_equal(comm, "con) mon");
        assert_int_equal(start_ns, 4242 * 10 * NSEC_PER_MSEC);
}

static void cut_anywhere(void **state) {
        size_t needed = (size_t) (strstr(stat_line, " 4242 ") - stat_line) + 2;

        (void) state;
        for (size_t len = 0; len < needed; len++) {
                char comm[EVENT_COMM_SIZE];
                uint64_t start_ns;

                assert_int_equal(parse(stat_line, len, comm, &start_ns), -EBADMSG);
        }
}

static void not_a_name(void **state) {
        static const char *const lines[] = { "", ")(", "1 no brackets", "1 (a name longer than the kernel's) S 1",
                                             "1 (x) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 x 1" };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                char comm[EVENT_COMM_SIZE];
                uint64_t start_ns;

                assert_int_equal(parse(lines[i], strlen(lines[i]), comm, &start_ns), -EBADMSG);
        }
}

static void gone(void **state) {
        (void) state;
        assert_true(resync_gone((uint32_t) getpid(), 0)); /* we began later than the machine */
        assert_true(resync_gone(UINT32_MAX, 0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole),
                cmocka_unit_test(cut_anywhere),
                cmocka_unit_test(not_a_name),
                cmocka_unit_test(gone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
