#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <sys/socket.h>
#include "conn.h"
#include "wire.h"

#define R "/runtime.v1.RuntimeService/"

/* The connections of one podspan-cri, without a server. */
typedef struct Rig {
        Config config;
        Calls calls;
        ConnOwner owner;
} Rig;

/* Both ends of one, as client and runtime have them. */
typedef struct Ends {
        int client, runtime;
} Ends;

static void no_wait(ConnOwner *owner _unused_) {
}

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        assert_int_equal(config_defaults(&rig->config), 0);
        rig->config.tracing_sampling_rate_per_million = 1000000;
        assert_int_equal(calls_init(&rig->calls, &rig->config, "/run/rt.sock", -1, NULL), 0);
        assert_int_equal(loop_new(&rig->owner.loop), 0);
        rig->owner.calls = &rig->calls;
        rig->owner.tracing = true;
        rig->owner.wait = no_wait;
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;

        while (rig->owner.conns)
                conn_close(rig->owner.conns, TAP_END_SHUTDOWN);
        assert_int_equal(rig->owner.n_taps, 0);
        assert_int_equal(rig->owner.n_kept, 0);
        calls_settle(&rig->calls);
        assert_int_equal(rig->calls.n_calls, 0);
        loop_free(rig->owner.loop);
        calls_deinit(&rig->calls);
        config_deinit(&rig->config);
        free(rig);
        return 0;
}

static Ends connect_one(Rig *rig) {
        int client[2], runtime[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, client), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, runtime), 0);
        assert_int_equal(conn_new(&rig->owner, client[1], runtime[1]), 0);
        return (Ends){ .client = client[0], .runtime = runtime[0] };
}

static void turns(Rig *rig) {
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(loop_turn(rig->owner.loop, 0), 0);
}

/* Sends all of @bytes at one end, and takes as much from the other. */
static void through(Rig *rig, int from, int to, const uint8_t *bytes, size_t n) {
        _cleanup_free_ uint8_t *got = malloc(n);
        size_t sent = 0, received = 0;

        assert_non_null(got);
        while (received < n) {
                ssize_t k = send(from, bytes + sent, n - sent, MSG_NOSIGNAL);

                sent += k > 0 ? (size_t) k : 0;
                turns(rig);
                k = recv(to, got + received, n - received, 0);
                received += k > 0 ? (size_t) k : 0;
        }
        assert_memory_equal(got, bytes, n);
}

/* A header block of one field that fills @size bytes of the table, in frames of 16384 bytes. */
static void fill_table(Bytes *out, uint32_t stream, size_t size) {
        Bytes block = {};
        size_t n = size - 33;

        /* A literal with incremental indexing, and the value's length from 127 on. */
        bytes_add(&block, "\x40\x01k\x7f", 4);
        for (n -= 127; n >= 0x80; n >>= 7)
                bytes_add(&block, &(uint8_t){ (uint8_t) (0x80 | (n & 0x7f)) }, 1);
        bytes_add(&block, &(uint8_t){ (uint8_t) n }, 1);
        for (size_t i = 0; i < size - 33; i++)
                bytes_add(&block, "v", 1);
        for (size_t at = 0; at < block.n; at += 16384) {
                size_t len = MIN((size_t) 16384, block.n - at);
                H2Frame frame = {
                        .length = (uint32_t) len,
                        .type = at == 0 ? H2FRAME_HEADERS : H2FRAME_CONTINUATION,
                        .flags = at + len == block.n ? H2FRAME_END_HEADERS : 0,
                        .stream = stream,
                };
                uint8_t head[H2FRAME_HEADER_SIZE];

                h2frame_write(&frame, head);
                bytes_add(out, head, sizeof(head));
                bytes_add(out, block.p + at, len);
        }
        bytes_free(&block);
}

/* HPACK tables as large as they may be, on many connections: all of them together are bounded, and no byte is lost. */
static void tables_are_bounded(void **state) {
        static const uint32_t large[] = { H2FRAME_SETTINGS_HEADER_TABLE_SIZE, HPACKDEC_TABLE_MAX, 0 };
        /* The encoder says that it uses all of the table. */
        static const uint8_t update[] = { 0,    0,    4,   H2FRAME_HEADERS, H2FRAME_END_HEADERS, 0, 0, 0, 1, 0x3f,
                                          0xe1, 0xff, 0x3f };
        enum { N = CONN_TAPS_MAX / (15 * 65000) + 8 };
        Rig *rig = *state;
        Ends ends[N], small;
        unsigned n_plain = 0;
        Bytes tables = {};
        Wire w;

        wire_init(&w);
        wire_preface(&w, NULL, large);
        /* The small one is there first, and is to stay what it is. */
        small = connect_one(rig);
        for (unsigned i = 0; i < N; i++)
                ends[i] = connect_one(rig);
        bytes_add(&tables, update, sizeof(update));
        for (uint32_t i = 0; i < 15; i++)
                fill_table(&tables, 3 + 2 * i, 65000);

        for (unsigned t = 0; t < w.n_turns; t++) {
                const WireTurn *turn = &w.turns[t];

                through(rig, turn->runtime ? small.runtime : small.client, turn->runtime ? small.client : small.runtime,
                        turn->bytes.p, turn->bytes.n);
        }
        for (unsigned i = 0; i < N; i++) {
                for (unsigned t = 0; t < w.n_turns; t++) {
                        const WireTurn *turn = &w.turns[t];

                        through(rig, turn->runtime ? ends[i].runtime : ends[i].client,
                                turn->runtime ? ends[i].client : ends[i].runtime, turn->bytes.p, turn->bytes.n);
                }
                through(rig, ends[i].client, ends[i].runtime, tables.p, tables.n);
                assert_true(rig->owner.n_taps <= CONN_TAPS_MAX);
        }
        for (const Conn *conn = rig->owner.conns; conn; conn = conn->next) {
                n_plain += conn->tap.plain;
                /* The first that was made is the last in the list. */
                if (!conn->next)
                        assert_false(conn->tap.plain);
        }
        assert_in_range(n_plain, 1, N - 10);
        assert_in_range(rig->owner.n_taps, CONN_TAPS_MAX / 10 * 9, CONN_TAPS_MAX);

        for (unsigned i = 0; i < N; i++) {
                close_fd(ends[i].client);
                close_fd(ends[i].runtime);
        }
        close_fd(small.client);
        close_fd(small.runtime);
        turns(rig);
        assert_null(rig->owner.conns);
        bytes_free(&tables);
        wire_deinit(&w);
}

/* As if it went to another process: packed, and made anew from that. */
static void hand_over(Rig *rig, Conn *conn, bool truncate) {
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        Unpack unpack;

        conn_pack(conn, &pack);
        assert_false(pack.failed);
        for (size_t n = 0; truncate && n < pack.n; n++) {
                _cleanup_free_ uint8_t *exact = malloc(n ? n : 1);

                assert_non_null(exact);
                memcpy(exact, pack.p, n);
                unpack = unpack_make(exact, n);
                assert_int_equal(conn_unpack(&rig->owner, dup(conn->client.fd), dup(conn->runtime.fd), true, &unpack),
                                 -EBADMSG);
        }
        unpack = unpack_make(pack.p, pack.n);
        assert_int_equal(conn_unpack(&rig->owner, dup(conn->client.fd), dup(conn->runtime.fd), true, &unpack), 0);
        assert_int_equal(unpack.n, 0);
        conn_drop(conn);
        conn_adopt(rig->owner.conns);
}

/* Sends @n bytes of the client, one by one, with a process for each where that can be. What came is added to @got. */
static void step_by_step(Rig *rig, Ends ends, const uint8_t *bytes, size_t n, Bytes *got) {
        for (size_t i = 0; i < n; i++) {
                uint8_t buf[256];
                ssize_t k;

                assert_int_equal(send(ends.client, bytes + i, 1, 0), 1);
                turns(rig);
                while ((k = recv(ends.runtime, buf, sizeof(buf), 0)) > 0)
                        bytes_add(got, buf, (size_t) k);
                if (conn_freeze(rig->owner.conns, false))
                        hand_over(rig, rig->owner.conns, i % 7 == 0);
                assert_false(rig->owner.conns->tap.plain);
        }
}

/* A connection packed at any point goes on where it was; every beginning of its state is refused. */
static void handed_over(void **state) {
        Rig *rig = *state;
        Bytes up = {}, got = {};
        Ends ends = connect_one(rig);
        Wire w;

        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_headers(&w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox"), "k", "a field of its own"));
        wire_data(&w, false, 1, WIRE_END_STREAM, "\0\0\0\0\0", 5);
        wire_headers(&w, false, 3, 0,
                     WIRE_FIELDS(WIRE_REQUEST(R "StopPodSandbox"), "k", "a field of its own", "traceparent",
                                 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        up = wire_all(&w, false);
        for (unsigned t = 0; t < w.n_turns; t++)
                if (w.turns[t].runtime)
                        through(rig, ends.runtime, ends.client, w.turns[t].bytes.p, w.turns[t].bytes.n);
                else
                        step_by_step(rig, ends, w.turns[t].bytes.p, w.turns[t].bytes.n, &got);

        /* One of the two calls got a field. */
        assert_int_equal(got.n, up.n + 69);
        assert_int_equal(rig->owner.n_conns, 1);
        assert_int_equal(rig->owner.conns->tap.n_streams, 2);
        close_fd(ends.client);
        close_fd(ends.runtime);
        bytes_free(&up);
        bytes_free(&got);
        wire_deinit(&w);
}

/* In the middle of a header block it can only be handed over as plain forwarding: the bytes go on, the calls end here.
 */
static void forced(void **state) {
        Rig *rig = *state;
        Ends ends = connect_one(rig);
        Conn *conn = rig->owner.conns;
        const WireTurn *last;
        uint8_t got[1024];
        Wire w;

        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_headers(&w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox"), "k", "a field of its own"));
        through(rig, ends.client, ends.runtime, w.turns[0].bytes.p, w.turns[0].bytes.n);
        through(rig, ends.runtime, ends.client, w.turns[1].bytes.p, w.turns[1].bytes.n);
        last = &w.turns[2];
        assert_int_equal(send(ends.client, last->bytes.p, last->bytes.n - 3, 0), last->bytes.n - 3);
        turns(rig);
        assert_false(conn_freeze(conn, false));

        /* Who did not take it over after all leaves it as it was. */
        assert_true(conn_freeze(conn, true));
        conn_thaw(conn);
        assert_false(conn->tap.plain);

        assert_true(conn_freeze(conn, true));
        hand_over(rig, conn, false);
        assert_true(rig->owner.conns->tap.plain);
        assert_int_equal(send(ends.client, last->bytes.p + last->bytes.n - 3, 3, 0), 3);
        turns(rig);
        assert_int_equal(recv(ends.runtime, got, sizeof(got), 0), last->bytes.n);
        assert_memory_equal(got, last->bytes.p, last->bytes.n);
        close_fd(ends.client);
        close_fd(ends.runtime);
        wire_deinit(&w);
}

static size_t receive_all(int fd, uint8_t *buf, size_t size) {
        size_t n = 0;
        ssize_t k;

        while (n < size && (k = recv(fd, buf + n, size - n, MSG_DONTWAIT)) > 0)
                n += (size_t) k;
        return n;
}

static bool at_end(int fd) {
        return recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT) == 0;
}

/* Who has said all it had to say still hears the answer, on either side. */
static void half_closed(void **state) {
        for (unsigned i = 0; i < 4; i++) {
                Rig *rig = *state;
                Ends ends;
                int first, second;
                uint8_t buf[8];

                rig->owner.tracing = i < 2;
                ends = connect_one(rig);
                first = i % 2 == 0 ? ends.client : ends.runtime;
                second = i % 2 == 0 ? ends.runtime : ends.client;

                assert_int_equal(send(first, "abc", 3, 0), 3);
                assert_int_equal(shutdown(first, SHUT_WR), 0);
                turns(rig);
                assert_int_equal(recv(second, buf, sizeof(buf), 0), 3);
                assert_true(at_end(second));
                assert_int_equal(rig->owner.n_conns, 1);

                assert_int_equal(send(second, "answer", 6, 0), 6);
                turns(rig);
                assert_int_equal(recv(first, buf, sizeof(buf), 0), 6);
                assert_memory_equal(buf, "answer", 6);
                assert_false(at_end(first));
                assert_int_equal(rig->owner.n_conns, 1);

                close_fd(second);
                turns(rig);
                assert_true(at_end(first));
                close_fd(first);
                turns(rig);
                assert_int_equal(rig->owner.n_conns, 0);
        }
}

/* What a slow reader has not taken is kept, in order and bounded; its writer waits; the end comes behind it. */
static void slow_reader(void **state) {
        enum { SIZE = 4 * 1024 * 1024 };
        _cleanup_free_ uint8_t *bytes = malloc(SIZE), *got = malloc(SIZE);

        assert_non_null(bytes);
        assert_non_null(got);
        for (size_t i = 0; i < SIZE; i++)
                bytes[i] = (uint8_t) (i * 2654435761U >> 24);

        for (unsigned i = 0; i < 2; i++) {
                Rig *rig = *state;
                size_t sent = 0, received = 0, stuck = 0;
                Ends ends;
                int from, to;

                rig->owner.tracing = false;
                ends = connect_one(rig);
                from = i == 0 ? ends.client : ends.runtime;
                to = i == 0 ? ends.runtime : ends.client;

                while (stuck < 8) {
                        ssize_t n = send(from, bytes + sent, SIZE - sent, MSG_NOSIGNAL);

                        sent += n > 0 ? (size_t) n : 0;
                        stuck = n > 0 ? 0 : stuck + 1;
                        turns(rig);
                        assert_in_range(rig->owner.n_kept, 0, CONN_READ_MAX);
                }
                assert_in_range(sent, 1, SIZE - 1);
                assert_in_range(rig->owner.n_kept, 1, CONN_READ_MAX);

                /* The writer goes; what it wrote is still delivered. */
                close_fd(from);
                turns(rig);
                assert_int_equal(rig->owner.n_conns, 1);
                for (unsigned k = 0; received < sent && k < 10000; k++) {
                        received += receive_all(to, got + received, SIZE - received);
                        turns(rig);
                }
                assert_int_equal(received, sent);
                assert_memory_equal(got, bytes, sent);
                assert_true(at_end(to));
                assert_int_equal(rig->owner.n_kept, 0);
                close_fd(to);
                turns(rig);
                assert_int_equal(rig->owner.n_conns, 0);
        }
}

/* With much kept for all connections together, a connection adds little to it. */
static void kept_is_bounded(void **state) {
        enum { SIZE = 1024 * 1024 };
        _cleanup_free_ uint8_t *bytes = calloc(1, SIZE);
        Rig *rig = *state;
        Ends ends;

        assert_non_null(bytes);
        rig->owner.tracing = false;
        rig->owner.n_kept = CONN_KEPT_MAX;
        ends = connect_one(rig);
        for (unsigned i = 0; i < 1000; i++) {
                (void) send(ends.client, bytes, SIZE, MSG_NOSIGNAL);
                turns(rig);
        }
        assert_in_range(rig->owner.n_kept, CONN_KEPT_MAX + 1, CONN_KEPT_MAX + CONN_READ_MIN);
        rig->owner.n_kept -= CONN_KEPT_MAX;
        close_fd(ends.client);
        close_fd(ends.runtime);
        turns(rig);
        assert_int_equal(rig->owner.n_conns, 0);
}

/* A side that is gone takes nothing more; what it sent before is delivered. */
static void last_words(void **state) {
        for (unsigned i = 0; i < 2; i++) {
                Rig *rig = *state;
                Ends ends = connect_one(rig);
                int gone = i == 0 ? ends.runtime : ends.client, stays = i == 0 ? ends.client : ends.runtime;
                uint8_t buf[8];

                assert_int_equal(send(gone, "bye", 3, 0), 3);
                close_fd(gone);
                assert_int_equal(send(stays, "hello", 5, 0), 5);
                turns(rig);
                assert_int_equal(recv(stays, buf, sizeof(buf), 0), 3);
                assert_memory_equal(buf, "bye", 3);
                assert_true(at_end(stays));
                close_fd(stays);
                turns(rig);
                assert_int_equal(rig->owner.n_conns, 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(tables_are_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(handed_over, setup, teardown),
                cmocka_unit_test_setup_teardown(forced, setup, teardown),
                cmocka_unit_test_setup_teardown(last_words, setup, teardown),
                cmocka_unit_test_setup_teardown(kept_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(slow_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(half_closed, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
