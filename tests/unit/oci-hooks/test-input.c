#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>
#include "clk.h"
#include "input.h"

#define SHORT (20 * NSEC_PER_MSEC)
#define LONG  (10 * NSEC_PER_SEC)

static void make_pipe(const char *data, int ret_fds[2]) {
        assert_int_equal(pipe2(ret_fds, O_CLOEXEC), 0);
        if (data)
                assert_int_equal(util_write_all(ret_fds[1], data, strlen(data)), 0);
}

static void test_ends(_unused_ void **userdata) {
        static const struct {
                const char *in;
                int r;
        } table[] = {
                { "{\"id\":\"x\"}", 1 }, { "{\"id\":\"x\"}\ntrailing", 1 }, { "", 0 },
                { "{", -EBADMSG },       { "nonsense", -EBADMSG },
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                State state;
                int fds[2];

                make_pipe(table[i].in, fds);
                fds[1] = close_fd(fds[1]);
                assert_int_equal(input_read(fds[0], LONG, NULL, &state), table[i].r);
                close_fd(fds[0]);
        }
}

/* A whole object on a pipe that stays open is enough. */
static void test_open_pipe(_unused_ void **userdata) {
        uint64_t begin = clk_monotonic();
        State state;
        int fds[2];

        make_pipe("{\"id\":\"x\"}", fds);
        assert_int_equal(input_read(fds[0], LONG, NULL, &state), 1);
        assert_true(clk_monotonic() - begin < LONG / 2);
        close_fd(fds[0]);
        close_fd(fds[1]);
}

static void test_timeout(_unused_ void **userdata) {
        static const char *const starts[] = { NULL, "{\"id\":", "nonsense" };

        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                uint64_t begin = clk_monotonic();
                State state;
                int fds[2], r;

                make_pipe(starts[i], fds);
                r = input_read(fds[0], SHORT, NULL, &state);
                assert_int_equal(r, i == 2 ? -EBADMSG : 0);
                assert_in_range(clk_monotonic() - begin, SHORT, LONG);
                close_fd(fds[0]);
                close_fd(fds[1]);
        }
}

static void test_not_a_pipe(_unused_ void **userdata) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), dir = open("/", O_RDONLY | O_CLOEXEC);
        State state;

        assert_int_equal(input_read(fd, LONG, NULL, &state), 0);
        assert_true(input_read(dir, LONG, NULL, &state) <= 0);
        close_fd(fd);
        close_fd(dir);
        assert_true(input_read(fd, LONG, NULL, &state) <= 0);
}

/* What was read is kept to the byte, and nothing is read that need not be. */
static void test_keep(_unused_ void **userdata) {
        static const char *const inputs[] = { "{\"id\":\"x\"} and more", "nonsense", "{\"id\":\"x\"" };
        static const int results[] = { 1, -EBADMSG, -EBADMSG };

        for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
                Input input;
                State state;
                int fds[2];

                make_pipe(inputs[i], fds);
                fds[1] = close_fd(fds[1]);
                assert_int_equal(input_read_keep(fds[0], LONG, NULL, &state, &input), results[i]);
                assert_int_equal(input.size, strlen(inputs[i]));
                assert_memory_equal(input.data, inputs[i], input.size);
                assert_int_equal(input.eof, i == 2);
                input_deinit(&input);
                close_fd(fds[0]);
        }
}

static void test_keep_timeout(_unused_ void **userdata) {
        Input input;
        State state;
        int fds[2];

        make_pipe("{", fds);
        assert_int_equal(input_read_keep(fds[0], SHORT, NULL, &state, &input), 0);
        assert_int_equal(input.size, 1);
        assert_false(input.eof);
        input_deinit(&input);
        close_fd(fds[0]);
        close_fd(fds[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ends),    cmocka_unit_test(test_open_pipe),
                cmocka_unit_test(test_timeout), cmocka_unit_test(test_not_a_pipe),
                cmocka_unit_test(test_keep),    cmocka_unit_test(test_keep_timeout),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
