#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>
#include "relay.h"

typedef struct Pipes {
        int from[2]; /* the runtime's: [1] writes, [0] is the relay's, closed by it */
        int read_fd; /* the child's */
        Relay relay;
} Pipes;

static void pipes_init(Pipes *pipes, const char *already, bool eof) {
        Input input = { .data = malloc(strlen(already) + 1),
                        .size = strlen(already),
                        .allocated = strlen(already) + 1,
                        .eof = eof };

        assert_non_null(input.data);
        memcpy(input.data, already, input.size);
        assert_int_equal(pipe2(pipes->from, O_CLOEXEC), 0);
        assert_int_equal(fcntl(pipes->from[1], F_SETFL, O_NONBLOCK), 0);
        assert_int_equal(relay_init(&pipes->relay, pipes->from[0], &pipes->read_fd), 0);
        pipes->relay.input = input;
}

static void pipes_deinit(Pipes *pipes) {
        if (relay_active(&pipes->relay))
                close_fd(pipes->from[0]);
        relay_deinit(&pipes->relay);
        close_fd(pipes->from[1]);
        close_fd(pipes->read_fd);
}

/* Runs the relay for as long as it has something to do now. */
static void turn(Pipes *pipes) {
        struct pollfd fds[2];

        for (;;) {
                relay_poll(&pipes->relay, &fds[0], &fds[1]);
                if (poll(fds, 2, 0) <= 0)
                        return;
                relay_run(&pipes->relay, &fds[0], &fds[1]);
        }
}

static size_t drain(int fd, uint8_t *buffer, size_t size) {
        size_t n = 0;
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };

        while (n < size && poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLIN)) {
                ssize_t r = read(fd, buffer + n, size - n);

                assert_true(r >= 0);
                if (r == 0)
                        break;
                n += (size_t) r;
        }
        return n;
}

/* What was read before, then what comes, then the end; far more than a pipe holds. */
static void test_everything_arrives(_unused_ void **userdata) {
        enum { SIZE = 1 << 20 };
        _cleanup_free_ uint8_t *sent = malloc(SIZE), *got = malloc(SIZE + 16);
        size_t n_sent = 0, n_got = 0;
        Pipes pipes;

        assert_true(sent && got);
        for (size_t i = 0; i < SIZE; i++)
                sent[i] = (uint8_t) (i * 31 + i / 251);

        pipes_init(&pipes, "before ", false);
        while (n_got < SIZE + 7) {
                ssize_t n = n_sent < SIZE ? write(pipes.from[1], sent + n_sent, MIN((size_t) 70000, SIZE - n_sent)) : 0;

                if (n > 0)
                        n_sent += (size_t) n;
                if (n_sent == SIZE)
                        pipes.from[1] = close_fd(pipes.from[1]);
                turn(&pipes);
                n_got += drain(pipes.read_fd, got + n_got, SIZE + 16 - n_got);
        }
        turn(&pipes);

        assert_int_equal(n_got, SIZE + 7);
        assert_memory_equal(got, "before ", 7);
        assert_memory_equal(got + 7, sent, SIZE);
        assert_false(relay_active(&pipes.relay));
        assert_int_equal(read(pipes.read_fd, got, 1), 0);
        pipes_deinit(&pipes);
}

static void test_end_already_seen(_unused_ void **userdata) {
        uint8_t got[16];
        Pipes pipes;

        pipes_init(&pipes, "all", true);
        turn(&pipes);
        assert_false(relay_active(&pipes.relay));
        assert_int_equal(read(pipes.read_fd, got, sizeof(got)), 3);
        assert_int_equal(read(pipes.read_fd, got, sizeof(got)), 0);
        pipes_deinit(&pipes);
}

/* Open input without data is no end. */
static void test_open_input(_unused_ void **userdata) {
        struct pollfd pollfd;
        uint8_t got[16];
        Pipes pipes;

        pipes_init(&pipes, "x", false);
        turn(&pipes);
        assert_int_equal(read(pipes.read_fd, got, sizeof(got)), 1);
        pollfd = (struct pollfd){ .fd = pipes.read_fd, .events = POLLIN };
        assert_int_equal(poll(&pollfd, 1, 0), 0);
        assert_true(relay_active(&pipes.relay));
        pipes_deinit(&pipes);
}

/* Who writes to us learns that the child has closed its input. */
static void test_reader_gone(_unused_ void **userdata) {
        Pipes pipes;

        pipes_init(&pipes, "", false);
        turn(&pipes);
        assert_true(relay_active(&pipes.relay));
        pipes.read_fd = close_fd(pipes.read_fd);
        turn(&pipes);
        assert_false(relay_active(&pipes.relay));
        assert_int_equal(write(pipes.from[1], "x", 1), -1);
        assert_int_equal(errno, EPIPE);
        pipes_deinit(&pipes);
}

/* A child that does not read stops the writer; memory does not grow. */
static void test_back_pressure(_unused_ void **userdata) {
        static uint8_t block[65536];
        size_t total = 0;
        ssize_t n;
        Pipes pipes;

        pipes_init(&pipes, "", false);
        do {
                n = write(pipes.from[1], block, sizeof(block));
                if (n > 0)
                        total += (size_t) n;
                turn(&pipes);
        } while (n > 0);
        assert_int_equal(errno, EAGAIN);
        assert_true(total <= 4 * 65536);
        pipes_deinit(&pipes);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_everything_arrives), cmocka_unit_test(test_end_already_seen),
                cmocka_unit_test(test_open_input),         cmocka_unit_test(test_reader_gone),
                cmocka_unit_test(test_back_pressure),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
