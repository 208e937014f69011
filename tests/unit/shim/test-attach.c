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

/* Fills the client's socket until the attach socket is behind. */
static size_t fill(Fixture *f, const uint8_t *data, size_t size) {
        size_t n = 0;

        while (attach_write(f->attach, 2, data, size))
                n += size;
        return n + size;
}

static void test_slow_client(void **userdata) {
        static uint8_t data[65536], packet[ATTACH_PACKET_MAX + 1];
        size_t sent, got = 0;
        Fixture *f = *userdata;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        sent = fill(f, data, sizeof(data));

        /* As long as it takes something now and then, it gets everything. */
        for (unsigned i = 0; i < TURNS_MAX && f->n_drained == 0; i++) {
                ssize_t n = recv(fd, packet, sizeof(packet), 0);

                assert_true(n > 0);
                got += (size_t) n - 1;
                turns(f, 2);
        }
        assert_int_equal(f->n_drained, 1);
        for (ssize_t n; (n = recv(fd, packet, sizeof(packet), 0)) > 0;)
                got += (size_t) n - 1;
        assert_int_equal(got, sent);
        (void) close(fd);
}

static void test_stuck_client(void **userdata) {
        static uint8_t data[65536], packet[ATTACH_PACKET_MAX + 1];
        Fixture *f = *userdata;
        size_t got = 0, sent;
        int fd, other;

        make(f, &with_stdin);
        fake_ns = NSEC_PER_SEC;
        clk_override(fake_clock);
        fd = connect_client(f);
        sent = fill(f, data, sizeof(data));
        fake_ns += ATTACH_PATIENCE_NS;

        /* The timer is real, what it compares is not. */
        for (unsigned i = 0; i < TURNS_MAX && f->n_drained == 0; i++)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        assert_int_equal(f->n_drained, 1);

        /* The rest goes on without it; it reads what it had, then the end; its input still counts. */
        other = connect_client(f);
        assert_true(attach_write(f->attach, 2, data, 100));
        assert_int_equal(recv(other, packet, sizeof(packet), 0), 101);
        for (ssize_t n; (n = recv(fd, packet, sizeof(packet), 0)) > 0;)
                got += (size_t) n - 1;
        assert_true(got > 0 && got < sent);
        assert_int_equal(recv(fd, packet, sizeof(packet), 0), 0);
        assert_int_equal(send(fd, "in", 2, 0), 2);
        turns(f, 5);
        assert_int_equal(read(f->input_fd, packet, sizeof(packet)), 2);

        (void) close(fd);
        for (unsigned i = 0; i < TURNS_MAX && f->n_ended == 0; i++)
                turns(f, 1);
        assert_true(f->last.stalled);
        assert_int_equal(f->last.bytes_out, got);
        assert_int_equal(f->last.bytes_dropped, sent - got + 100);
        (void) close(other);
}

/* At the end there is no loop to wait in. */
static void test_finish(void **userdata) {
        static uint8_t data[65536];
        Fixture *f = *userdata;
        int fd;

        make(f, &with_stdin);
        fd = connect_client(f);
        (void) fill(f, data, sizeof(data));
        (void) close(fd);
        attach_finish(f->attach);
        assert_true(attach_write(f->attach, 2, data, sizeof(data)));
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
                cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stuck_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_finish, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
