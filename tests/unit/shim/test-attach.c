#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "attach.h"

#define TURNS_MAX 10000

typedef struct Fixture {
        char dir[32];
        int dir_fd;
        Loop *loop;
        Attach *attach;
        int input_fd; /* the container's end of its standard input */
        unsigned n_drained;
        unsigned n_closed;
        unsigned n_ended;
        AttachRecord last;
} Fixture;

static void on_drained(void *userdata) {
        ((Fixture *) userdata)->n_drained++;
}

static void on_closed(void *userdata) {
        ((Fixture *) userdata)->n_closed++;
}

static void on_ended(void *userdata, const AttachRecord *record) {
        Fixture *f = userdata;

        f->n_ended++;
        f->last = *record;
}

static void make(Fixture *f, const AttachOptions *options) {
        const AttachHooks hooks = {
                .drained = on_drained,
                .stdin_closed = on_closed,
                .ended = on_ended,
                .userdata = f,
        };
        int fds[2];

        assert_int_equal(attach_new(f->loop, options, &hooks, &f->attach), 0);
        assert_int_equal(attach_listen(f->attach, f->dir_fd), 0);
        if (options->has_stdin) {
                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                f->input_fd = fds[0];
                assert_int_equal(attach_set_stdin(f->attach, fds[1]), 0);
        } else {
                attach_close_stdin(f->attach);
        }
}

static int setup(void **userdata) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        memcpy(f->dir, "/tmp/attach-XXXXXX", 19);
        assert_non_null(mkdtemp(f->dir));
        f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir_fd >= 0);
        assert_int_equal(loop_new(&f->loop), 0);
        f->input_fd = -EBADF;
        *userdata = f;
        return 0;
}

static int teardown(void **userdata) {
        Fixture *f = *userdata;

        f->attach = attach_free(f->attach);
        f->loop = loop_free(f->loop);
        (void) close_fd(f->input_fd);
        (void) unlinkat(f->dir_fd, "attach", 0);
        (void) close_fd(f->dir_fd);
        (void) rmdir(f->dir);
        clk_override(NULL);
        free(f);
        return 0;
}

static void turns(Fixture *f, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(loop_turn(f->loop, 0), 0);
}

static int connect_client(Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        unsigned before = attach_count(f->attach);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/attach", f->dir);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        for (unsigned i = 0; i < TURNS_MAX && attach_count(f->attach) == before; i++)
                turns(f, 1);
        assert_int_equal(attach_count(f->attach), before + 1);
        return fd;
}

static const AttachOptions with_stdin = { .has_stdin = true };

static void test_output(void **userdata) {
        static uint8_t data[3 * ATTACH_PACKET_MAX - 1];
        uint8_t packet[ATTACH_PACKET_MAX + 2];
        Fixture *f = *userdata;
        struct stat st;
        int a, b;

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) i;

        make(f, &with_stdin);
        assert_int_equal(fstatat(f->dir_fd, "attach", &st, 0), 0);
        assert_int_equal(st.st_mode, S_IFSOCK | 0700);
        assert_true(attach_write(f->attach, 2, data, sizeof(data))); /* to nobody */

        a = connect_client(f);
        b = connect_client(f);
        assert_true(attach_write(f->attach, 3, data, sizeof(data)));
        for (int i = 0; i < 2; i++) {
                int fd = i == 0 ? a : b;

                for (size_t at = 0; at < sizeof(data);) {
                        size_t n = MIN(sizeof(data) - at, (size_t) ATTACH_PACKET_MAX);

                        assert_int_equal(recv(fd, packet, sizeof(packet), 0), n + 1);
                        assert_int_equal(packet[0], 3);
                        assert_memory_equal(packet + 1, data + at, n);
                        at += n;
                }
                assert_int_equal(recv(fd, packet, sizeof(packet), 0), -1);
        }
        (void) close(a);
        (void) close(b);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended < 2; i++)
                turns(f, 1);
        assert_int_equal(f->n_ended, 2);
        assert_int_equal(f->last.bytes_out, sizeof(data));
        assert_int_equal(f->last.bytes_dropped, 0);
}

static void test_input(void **userdata) {
        Fixture *f = *userdata;
        char bytes[64];
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        assert_int_equal(send(fd, "one", 3, 0), 3);
        assert_int_equal(send(fd, "two", 3, 0), 3);
        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_closed == 0; i++)
                turns(f, 1);

        assert_int_equal(f->n_closed, 1);
        assert_int_equal(read(f->input_fd, bytes, sizeof(bytes)), 6);
        assert_memory_equal(bytes, "onetwo", 6);
        assert_int_equal(read(f->input_fd, bytes, sizeof(bytes)), 0);
        turns(f, 10);
        assert_int_equal(f->n_ended, 1);
        assert_int_equal(f->last.bytes_in, 6);
}

/* More than the pipe holds: the client that is gone has all of it delivered, and nothing spins meanwhile. */
static void test_input_waits(void **userdata) {
        static char in[40000], out[2 * sizeof(in)];
        size_t n = 0, sent = 0;
        Fixture *f = *userdata;
        int fd, size = 1 << 20;

        make(f, &with_stdin);
        fd = connect_client(f);
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        for (int i = 0; i < 4; i++) {
                memset(in, 'a' + i, sizeof(in));
                if (send(fd, in, sizeof(in), 0) == (ssize_t) sizeof(in))
                        sent += sizeof(in);
                turns(f, 20);
        }
        assert_true(sent > 65536);
        (void) close(fd);
        turns(f, 50);
        assert_int_equal(f->n_closed, 0);

        for (unsigned i = 0; i < TURNS_MAX && f->n_closed == 0; i++) {
                ssize_t k = n < sent ? read(f->input_fd, out, MIN(sizeof(out), (size_t) 4096)) : 0;

                assert_true(k >= 0);
                n += (size_t) k;
                turns(f, 3);
        }
        assert_int_equal(f->n_closed, 1);
        for (ssize_t k; (k = read(f->input_fd, out, sizeof(out))) > 0;)
                n += (size_t) k;
        assert_int_equal(n, sent);
}

static void test_leave_open(void **userdata) {
        static const AttachOptions options = { .has_stdin = true, .leave_stdin_open = true };
        Fixture *f = *userdata;
        int fd;

        make(f, &options);
        fd = connect_client(f);
        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended == 0; i++)
                turns(f, 1);
        assert_int_equal(f->n_ended, 1);
        assert_int_equal(f->n_closed, 0);

        fd = connect_client(f);
        assert_int_equal(send(fd, "x", 1, 0), 1);
        turns(f, 10);
        assert_int_equal(read(f->input_fd, (char[8]){}, 8), 1);
        (void) close(fd);
}

/* Who has closed the write side still hears what the container says. */
static void test_half_closed(void **userdata) {
        uint8_t packet[64];
        Fixture *f = *userdata;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        for (unsigned i = 0; i < TURNS_MAX && f->n_closed == 0; i++)
                turns(f, 1);
        assert_int_equal(f->n_closed, 1);
        assert_true(attach_write(f->attach, 2, (const uint8_t *) "late", 4));
        assert_int_equal(recv(fd, packet, sizeof(packet), 0), 5);
        (void) close(fd);
}

static void test_input_without_stdin(void **userdata) {
        static const AttachOptions options = {};
        Fixture *f = *userdata;
        int fd;

        make(f, &options);
        fd = connect_client(f);
        for (int i = 0; i < 100; i++) {
                assert_int_equal(send(fd, "ignored", 7, 0), 7);
                turns(f, 2);
        }
        assert_true(attach_write(f->attach, 2, (const uint8_t *) "x", 1));
        (void) close(fd);
}

static uint64_t fake_ns;

static Clk fake_clock(void) {
        return (Clk){ .realtime_ns = fake_ns, .monotonic_ns = fake_ns };
}

/* Output whose every byte says where it belongs, of both streams in turn. */
static uint8_t byte_at(size_t at) {
        return (uint8_t) (at * 31 + (at >> 13));
}

static bool write_at(Fixture *f, size_t *at, size_t n) {
        uint8_t data[65536];
        uint8_t stream = (*at / sizeof(data)) % 2 == 0 ? 2 : 3;

        assert_true(n <= sizeof(data));
        for (size_t i = 0; i < n; i++)
                data[i] = byte_at(*at + i);
        *at += n;
        return attach_write(f->attach, stream, data, n);
}

/* Takes a packet, if there is one. Returns its bytes, 0 at the end, -1 where there is none now. */
static ssize_t take(int fd, size_t *at) {
        uint8_t packet[ATTACH_PACKET_MAX + 1];
        ssize_t n = recv(fd, packet, sizeof(packet), 0);

        if (n <= 0)
                return n;
        assert_true(packet[0] == 2 || packet[0] == 3);
        for (ssize_t i = 1; i < n; i++)
                assert_int_equal(packet[i], byte_at(*at + (size_t) i - 1));
        *at += (size_t) n - 1;
        return n - 1;
}

/* Takes packets until there are no more for now, or the end. */
static void take_more(int fd, size_t *at) {
        while (take(fd, at) > 0)
                ;
}

static size_t take_all(int fd) {
        size_t at = 0;

        take_more(fd, &at);
        return at;
}

/* Makes it, with a clock that stands until it is set on, and a client. */
static int make_timed(Fixture *f) {
        make(f, &with_stdin);
        fake_ns = NSEC_PER_SEC;
        clk_override(fake_clock);
        return connect_client(f);
}

static size_t fill(Fixture *f) {
        size_t at = 0;

        while (write_at(f, &at, 65536))
                ;
        return at;
}

/* Who stands still for an hour holds nobody up while there is room, and loses nothing. */
static void test_stopped_client(void **userdata) {
        static const size_t sizes[] = { 1, 100, 8191, 8192, 8193, 65536, 7 };
        size_t at = 0, got = 0;
        Fixture *f = *userdata;
        int fd, other;

        fd = make_timed(f);
        other = connect_client(f);
        for (size_t i = 0, other_got = 0; at < ATTACH_BACKLOG_MAX / 2; i++) {
                size_t n = MIN(sizes[i % ARRAY_SIZE(sizes)], 65536 - at % 65536);

                assert_true(write_at(f, &at, n));
                fake_ns += 3600 * NSEC_PER_SEC / 100;
                turns(f, 1);
                take_more(other, &other_got);
                assert_int_equal(other_got, at); /* at once, whatever becomes of the first one */
        }
        assert_int_equal(f->n_drained, 0);

        for (unsigned i = 0; i < TURNS_MAX && got < at; i++) {
                take_more(fd, &got);
                turns(f, 1);
        }
        assert_int_equal(got, at);
        assert_true(write_at(f, &at, 10));
        assert_int_equal(take(fd, &got), 10);
        (void) close(fd);
        (void) close(other);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended < 2; i++)
                turns(f, 1);
        assert_false(f->last.stalled);
        assert_int_equal(f->last.bytes_dropped, 0);
}

static void test_slow_client(void **userdata) {
        size_t sent, got = 0;
        Fixture *f = *userdata;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        sent = fill(f);
        assert_true(sent >= ATTACH_BACKLOG_MAX);

        /* As long as it takes something now and then, it gets everything. */
        for (unsigned i = 0; i < TURNS_MAX && f->n_drained == 0; i++) {
                assert_true(take(fd, &got) > 0);
                turns(f, 2);
        }
        assert_int_equal(f->n_drained, 1);
        assert_true(write_at(f, &sent, 1));
        for (unsigned i = 0; i < TURNS_MAX && got < sent; i++) {
                take_more(fd, &got);
                turns(f, 1);
        }
        assert_int_equal(got, sent);
        assert_int_equal(f->n_drained, 1);
        (void) close(fd);
}

static void test_stuck_client(void **userdata) {
        Fixture *f = *userdata;
        size_t got, sent, at;
        int fd, other;

        fd = make_timed(f);
        sent = fill(f);
        fake_ns += ATTACH_PATIENCE_NS;

        /* The timer is real, what it compares is not. */
        for (unsigned i = 0; i < TURNS_MAX && f->n_drained == 0; i++)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        assert_int_equal(f->n_drained, 1);

        /* The rest goes on without it; it reads what it had, then the end; its input still counts. */
        other = connect_client(f);
        at = 0;
        assert_true(write_at(f, &at, 100));
        assert_int_equal(take_all(other), 100);
        got = take_all(fd);
        assert_true(got > 0 && got < sent);
        assert_int_equal(recv(fd, (char[1]){}, 1, 0), 0);
        assert_int_equal(send(fd, "in", 2, 0), 2);
        turns(f, 5);
        assert_int_equal(read(f->input_fd, (char[8]){}, 8), 2);

        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended == 0; i++)
                turns(f, 1);
        assert_true(f->last.stalled);
        assert_int_equal(f->last.bytes_out, got);
        assert_int_equal(f->last.bytes_dropped, sent - got + 100);
        (void) close(other);
}

/* Who has taken nothing for long is not waited for at all once the room is used up; others stay. */
static void test_stuck_client_long_ago(void **userdata) {
        size_t at = 0, got = 0;
        Fixture *f = *userdata;
        int fd, other;

        fd = make_timed(f);
        other = connect_client(f);
        while (at < 2 * ATTACH_BACKLOG_MAX) {
                assert_true(write_at(f, &at, 65536));
                fake_ns += NSEC_PER_SEC / 10;
                while (got < at) {
                        turns(f, 1);
                        take_more(other, &got);
                }
        }
        assert_int_equal(f->n_drained, 0);
        assert_true(take_all(fd) < at);
        assert_int_equal(recv(fd, (char[1]){}, 1, 0), 0);
        (void) close(fd);
        (void) close(other);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended < 2; i++)
                turns(f, 1);
        assert_int_equal(f->n_ended, 2);
}

/*
 * A client that takes a packet just before its time is over is no better than one that takes nothing: the kernel says
 * that there is room only when three quarters of the socket's buffer are free.
 */
static void test_dripping_client(void **userdata) {
        Fixture *f = *userdata;
        size_t sent, got = 0, at = 0, other_got = 0;
        uint64_t full_ns;
        int fd, other;

        fd = make_timed(f);
        sent = fill(f);
        full_ns = fake_ns;
        while (f->n_drained == 0 && fake_ns - full_ns < 60 * NSEC_PER_SEC) {
                fake_ns += ATTACH_PATIENCE_NS - NSEC_PER_SEC / 10;
                assert_true(take(fd, &got) > 0);
                for (unsigned i = 0; i < 20; i++)
                        turns(f, 1);
                /* The timer is real, what it compares is not. */
                if (f->n_drained == 0 && fake_ns - full_ns >= ATTACH_PATIENCE_NS)
                        assert_int_equal(loop_turn(f->loop, 3000), 0);
        }
        assert_int_equal(f->n_drained, 1);
        assert_true(fake_ns - full_ns <= 2 * ATTACH_PATIENCE_NS);

        other = connect_client(f);
        assert_true(write_at(f, &at, 100));
        take_more(other, &other_got);
        assert_int_equal(other_got, 100);
        take_more(fd, &got);
        assert_true(got < sent);
        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended == 0; i++)
                turns(f, 1);
        assert_true(f->last.stalled);
        (void) close(other);
}

/* It goes while there is no room. */
static void test_slow_client_goes(void **userdata) {
        Fixture *f = *userdata;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        (void) fill(f);
        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_drained == 0; i++)
                turns(f, 1);
        assert_int_equal(f->n_drained, 1);
        assert_int_equal(attach_count(f->attach), 0);
        assert_false(f->last.stalled);
        assert_true(f->last.bytes_dropped > 0);
}

/* At the end who has everything goes at once, and who lacks something gets it. */
static void test_end(void **userdata) {
        size_t at = 0, got = 0;
        Fixture *f = *userdata;
        int slow, quick, status;
        pid_t pid;

        make(f, &with_stdin);
        slow = connect_client(f);
        quick = connect_client(f);
        while (at < ATTACH_BACKLOG_MAX / 4) {
                assert_true(write_at(f, &at, 65536));
                while (take(quick, &got) > 0)
                        turns(f, 1);
        }
        while (got < at) {
                turns(f, 1);
                take_more(quick, &got);
        }

        attach_end(f->attach);
        assert_int_equal(attach_count(f->attach), 1);
        assert_int_equal(recv(quick, (char[1]){}, 1, 0), 0);
        assert_int_equal(f->last.bytes_out, at);

        /* While a loop runs, that serves it, too. */
        got = 0;
        assert_true(take(slow, &got) > 0);
        turns(f, 5);

        pid = fork();
        if (pid == 0) {
                (void) fcntl(slow, F_SETFL, 0);
                while (got < at && take(slow, &got) > 0)
                        ;
                _exit(got == at ? 0 : 1);
        }
        attach_finish(f->attach);
        assert_int_equal(attach_count(f->attach), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(recv(slow, (char[1]){}, 1, 0), 0);
        assert_int_equal(f->last.bytes_out, at);
        assert_int_equal(f->last.bytes_dropped, 0);
        assert_false(f->last.stalled);
        (void) close(slow);
        (void) close(quick);
}

static Clk fast_clock(void) {
        fake_ns += NSEC_PER_SEC;
        return fake_clock();
}

static void test_end_of_stuck_client(void **userdata) {
        Fixture *f = *userdata;
        size_t got, sent;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        sent = fill(f);
        attach_end(f->attach);
        assert_int_equal(f->n_ended, 0);
        clk_override(fast_clock);
        attach_finish(f->attach);
        assert_int_equal(f->n_ended, 1);
        assert_true(f->last.stalled);
        got = take_all(fd);
        assert_int_equal(f->last.bytes_out, got);
        assert_int_equal(f->last.bytes_dropped, sent - got);
        (void) close(fd);
}

static void test_many_clients(void **userdata) {
        int fds[ATTACH_CLIENTS_MAX];
        Fixture *f = *userdata;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int more;

        make(f, &with_stdin);
        for (int i = 0; i < ATTACH_CLIENTS_MAX; i++)
                fds[i] = connect_client(f);

        more = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/attach", f->dir);
        assert_int_equal(connect(more, (struct sockaddr *) &address, sizeof(address)), 0);
        turns(f, 5);
        assert_int_equal(attach_count(f->attach), ATTACH_CLIENTS_MAX);
        assert_int_equal(recv(more, (char[4]){}, 4, 0), 0);
        (void) close(more);
        for (int i = 0; i < ATTACH_CLIENTS_MAX; i++)
                (void) close(fds[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_input, setup, teardown),
                cmocka_unit_test_setup_teardown(test_input_waits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leave_open, setup, teardown),
                cmocka_unit_test_setup_teardown(test_half_closed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_input_without_stdin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stopped_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stuck_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stuck_client_long_ago, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dripping_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_slow_client_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end_of_stuck_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
