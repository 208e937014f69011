#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include "tap.h"
#include "tappack.h"
#include "wire.h"

#define R "/runtime.v1.RuntimeService/"
#define I "/runtime.v1.ImageService/"

#define INJECTED "00-11111111111111111111111111111111-2222222222222222-01"
#define CALLERS  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* An owner that writes down what it is told. */
typedef struct Owner {
        char log[8192];
        unsigned n_injected;
        unsigned n_open;
        int plain;
        size_t n_wait; /* bytes of DATA after which a call that waits is decided */
        bool moves;    /* the tap goes to another process now and then */
        bool inject;
        bool follow_nothing;
} Owner;

typedef struct Followed {
        TapStream stream;
        char name[64];
        size_t n_request, n_reply;
        bool wait;
} Followed;

static void note(Owner *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(Owner *o, const char *format, ...) {
        size_t n = strlen(o->log);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(o->log + n, sizeof(o->log) - n, format, ap);
        va_end(ap);
}

static TapStream *on_begin(Tap *tap, uint32_t id, const TapHeaders *h) {
        Owner *o = tap->userdata;
        Followed *f;

        if (o->follow_nothing)
                return NULL;
        f = calloc(1, sizeof(*f));
        assert_non_null(f);
        util_copy_bounded(f->name, sizeof(f->name), method_short(h->path), strlen(method_short(h->path)));
        f->stream.want_request = f->stream.want_reply = true;
        f->wait = strcmp(f->name, "CreateContainer") == 0 || strcmp(f->name, "StartContainer") == 0;
        o->n_open++;
        note(o, "begin %u %s%s", id, f->name, h->n_traceparent ? h->traceparent_valid ? " tp" : " bad-tp" : "");
        if (h->has_timeout)
                note(o, " %llus", (unsigned long long) (h->timeout_ns / NSEC_PER_SEC));
        note(o, "\n");
        return &f->stream;
}

static void on_unseen(Tap *tap, const TapHeaders *h _unused_) {
        note(tap->userdata, "unseen\n");
}

static TapInject on_inject(Tap *tap, TapStream *s, bool final, char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]) {
        Followed *f = container_of(s, Followed, stream);
        Owner *o = tap->userdata;

        if (!o->inject)
                return TAP_INJECT_NO;
        if (f->wait && !final && f->n_request < o->n_wait)
                return TAP_INJECT_WAIT;
        memcpy(ret, INJECTED, sizeof(INJECTED));
        return TAP_INJECT_YES;
}

static void on_injected(Tap *tap, TapStream *s _unused_) {
        ((Owner *) tap->userdata)->n_injected++;
}

static void on_request_data(Tap *tap _unused_, TapStream *s, const uint8_t *data, size_t len) {
        assert_true(data && len > 0);
        container_of(s, Followed, stream)->n_request += len;
}

static void on_request_end(Tap *tap, TapStream *s) {
        note(tap->userdata, "sent %u %zu\n", s->id, container_of(s, Followed, stream)->n_request);
}

static void on_reply_data(Tap *tap _unused_, TapStream *s, const uint8_t *data, size_t len) {
        assert_true(data && len > 0);
        container_of(s, Followed, stream)->n_reply += len;
}

static void on_end(Tap *tap, TapStream *s, TapEnd how, const TapHeaders *h, uint32_t error) {
        Followed *f = container_of(s, Followed, stream);
        Owner *o = tap->userdata;

        note(o, "end %u %zu how=%d", s->id, f->n_reply, how);
        if (h)
                note(o, " status=%d http=%u %s", h->grpc_status, h->http_status, h->message);
        if (error)
                note(o, " error=%u", error);
        note(o, "\n");
        o->n_open--;
        free(f);
}

static void on_plain(Tap *tap, int error) {
        Owner *o = tap->userdata;

        assert_int_equal(o->plain, 0);
        o->plain = error;
}

static const TapOps ops = {
        .begin = on_begin,
        .unseen = on_unseen,
        .inject = on_inject,
        .injected = on_injected,
        .request_data = on_request_data,
        .request_end = on_request_end,
        .reply_data = on_reply_data,
        .end = on_end,
        .plain = on_plain,
};

static uint64_t seed;

static uint32_t rnd(uint32_t below) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (uint32_t) (seed >> 33) % below;
}

static void take(Tap *tap, struct iovec iov[static HOLD_IOV], Bytes *out) {
        for (unsigned i = 0; i < HOLD_IOV; i++)
                bytes_add(out, iov[i].iov_base, iov[i].iov_len);
        tap_request_done(tap);
}

static void write_followed(const TapStream *s, Pack *pack) {
        const Followed *f = container_of(s, Followed, stream);

        pack_string(pack, f->name);
        pack_number(pack, f->n_request);
        pack_number(pack, f->n_reply);
        pack_number(pack, f->wait);
}

static TapStream *read_followed(Tap *tap _unused_, Unpack *unpack) {
        Followed *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        unpack_text(unpack, f->name, sizeof(f->name));
        f->n_request = unpack_number(unpack, SIZE_MAX);
        f->n_reply = unpack_number(unpack, SIZE_MAX);
        f->wait = unpack_bool(unpack);
        if (!unpack->failed)
                return &f->stream;
        free(f);
        return NULL;
}

static void forget(Tap *tap _unused_, TapStream *s, TapEnd how _unused_, const TapHeaders *h _unused_,
                   uint32_t error _unused_) {
        free(container_of(s, Followed, stream));
}

static void ignore_plain(Tap *tap _unused_, int error _unused_) {
}

/* Every beginning of a state is refused. */
static void truncated(const Pack *pack, const uint8_t *held, size_t n_held) {
        static const TapOps quiet = { .end = forget, .plain = ignore_plain };

        for (size_t n = 0; n < pack->n; n++) {
                _cleanup_free_ uint8_t *exact = malloc(n ? n : 1);
                Unpack unpack;
                Tap tap;

                assert_non_null(exact);
                memcpy(exact, pack->p, n);
                unpack = unpack_make(exact, n);
                tap_init(&tap, &quiet, NULL, true);
                assert_int_equal(tappack_read(&tap, &unpack, held, n_held, read_followed), -EBADMSG);
                tap_degrade(&tap, -EBADMSG);
                tap_deinit(&tap, TAP_END_UNTRACKED);
        }
}

/* The tap as it is after a process has handed it to another one, if that can be now. */
static void move(Tap *tap, bool truncate) {
        static const TapOps gone = { .end = forget };
        _cleanup_free_ uint8_t *held = NULL, *exact = NULL;
        size_t n_held = hold_kept(&tap->hold);
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        Unpack unpack;
        Tap other;

        if (tap->plain || !tappack_ready(tap))
                return;
        assert_true(n_held <= 8);
        held = malloc(n_held + 1);
        assert_non_null(held);
        if (n_held > 0)
                memcpy(held, tap->hold.p, n_held);
        tappack_write(tap, &pack, write_followed);
        assert_false(pack.failed);
        if (truncate)
                truncated(&pack, held, n_held);

        exact = malloc(pack.n);
        assert_non_null(exact);
        memcpy(exact, pack.p, pack.n);
        unpack = unpack_make(exact, pack.n);
        tap_init(&other, tap->ops, tap->userdata, false);
        assert_int_equal(tappack_read(&other, &unpack, held, n_held, read_followed), 0);
        assert_int_equal(unpack.n, 0);
        tap->ops = &gone;
        tap_deinit(tap, TAP_END_UNTRACKED);
        *tap = other;
}

/* Plays @w through a tap in pieces of up to @piece bytes (0: whole turns); returns what the runtime got. */
static Bytes play(const Wire *w, Owner *o, bool may_inject, unsigned piece) {
        struct iovec iov[HOLD_IOV];
        Bytes out = {};
        Tap tap;

        tap_init(&tap, &ops, o, may_inject);
        for (unsigned i = 0; i < w->n_turns; i++) {
                const WireTurn *t = &w->turns[i];

                for (size_t at = 0; at < t->bytes.n;) {
                        size_t n = piece == 0 ? t->bytes.n : MIN(1 + (size_t) rnd(piece), t->bytes.n - at);
                        _cleanup_free_ uint8_t *exact = malloc(n);

                        assert_non_null(exact);
                        memcpy(exact, t->bytes.p + at, n);
                        if (t->runtime)
                                tap_reply(&tap, exact, n);
                        else {
                                tap_request(&tap, exact, n, iov);
                                take(&tap, iov, &out);
                        }
                        at += n;
                        if (o->moves && (piece > 0 || rnd(2)))
                                move(&tap, rnd(500) == 0);
                        if (piece > 0 && rnd(50) == 0 && tap_waits(&tap)) {
                                tap_release(&tap, UINT64_MAX, iov);
                                take(&tap, iov, &out);
                        }
                }
                /* A peer answers only what has arrived: whole turns must not be kept back for more than a moment. */
                if (tap_waits(&tap)) {
                        tap_release(&tap, UINT64_MAX, iov);
                        take(&tap, iov, &out);
                }
        }
        tap_release_end(&tap, iov);
        take(&tap, iov, &out);
        tap_deinit(&tap, TAP_END_CONNECTION_CLIENT);
        assert_int_equal(o->n_open, 0);
        return out;
}

/* Everything that HTTP/2 has, on one connection. */
static void dialogue(Wire *w) {
        static const uint32_t big[] = { 1, 65536, 4, 1 << 20, 0 };
        static const uint32_t none[] = { 1, 0, 0 };
        static const uint32_t twice[] = { 1, 0, 1, 1000, 0 };
        Bytes m = {}, large = {};
        char pad[300];

        memset(pad, 'p', sizeof(pad) - 1);
        pad[sizeof(pad) - 1] = 0;
        wire_init(w);
        wire_preface(w, big, big);
        nghttp2_hd_deflate_change_table_size(w->deflater[0], 65536);
        nghttp2_hd_deflate_change_table_size(w->deflater[1], 65536);

        wire_headers(w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "Version"), "grpc-timeout", "5S", "user-agent", "x/1"));
        wire_data(w, false, 1, WIRE_END_STREAM, "\0\0\0\0\0", 5);
        wire_reply(w, 1, "\0\0\0\0\1x", 6, "0");

        wire_headers(w, false, 3, WIRE_PADDED | WIRE_PRIORITY, WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox"), "k", pad));
        wire_data(w, false, 3, WIRE_PADDED, "\0\0\0\0\4", 5);
        wire_frame(w, false, H2FRAME_PING, 0, 0, "12345678", 8);
        wire_data(w, false, 3, WIRE_END_STREAM | WIRE_PADDED, "abcd", 4);
        wire_frame(w, true, H2FRAME_PING, H2FRAME_ACK, 0, "12345678", 8);
        wire_headers(w, true, 3, 0, WIRE_FIELDS(":status", "100"));
        wire_reply(w, 3, "\0\0\0\0\0", 5, "0");

        wire_headers(w, false, 5, WIRE_CONTINUATION | WIRE_PADDED,
                     WIRE_FIELDS(WIRE_REQUEST(R "StopContainer"), "k", pad));
        wire_data(w, false, 5, WIRE_END_STREAM, "\0\0\0\0\0", 5);
        /* Two calls that wait for their identity, one inside the other. */
        wire_headers(w, false, 7, WIRE_PRIORITY, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
        wire_headers(w, false, 9, 0, WIRE_FIELDS(WIRE_REQUEST(R "StartContainer")));
        wire_headers(w, false, 11, 0, WIRE_FIELDS(WIRE_REQUEST(R "StopPodSandbox"), "traceparent", CALLERS));
        wire_data(w, false, 9, 0, "\0\0\0\0\2a", 6);
        wire_data(w, false, 7, 0, "\0\0\0\0\6abc", 8);
        wire_data(w, false, 11, WIRE_END_STREAM, "\0\0\0\0\0", 5);
        wire_data(w, false, 7, WIRE_END_STREAM, "def", 3);
        wire_data(w, false, 9, WIRE_END_STREAM, "b", 1);
        wire_reply(w, 7, "\0\0\0\0\0", 5, "0");
        wire_reply(w, 5, "\0\0\0\0\0", 5, "5");

        /* Table sizes change while blocks coded with the old ones are under way. */
        wire_settings(w, false, none);
        wire_settings(w, true, twice);
        wire_reply(w, 9, "\0\0\0\0\0", 5, "0");
        wire_headers(w, false, 13, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "RemovePodSandbox"), "k", pad));
        wire_ack(w, false);
        nghttp2_hd_deflate_change_table_size(w->deflater[0], 0);
        nghttp2_hd_deflate_change_table_size(w->deflater[0], 1000);
        wire_headers(w, false, 15, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(I "PullImage"), "k", pad));
        wire_headers(w, false, 17, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(I "RemoveImage"), "k", pad));
        wire_ack(w, true);
        nghttp2_hd_deflate_change_table_size(w->deflater[1], 0);
        wire_reply(w, 11, "\0\0\0\0\0", 5, "2");
        wire_reply(w, 13, "\0\0\0\0\0", 5, "0");

        /* Ends of other kinds. */
        wire_frame(w, false, H2FRAME_RST_STREAM, 0, 15, "\0\0\0\x08", 4);
        wire_frame(w, true, H2FRAME_RST_STREAM, 0, 17, "\0\0\0\x07", 4);
        wire_headers(w, false, 19, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Status")));
        wire_headers(w, true, 19, WIRE_END_STREAM,
                     WIRE_FIELDS(":status", "200", "grpc-status", "12", "grpc-message", "no%20such"));

        /* A push, a frame of the future, a request with trailers, a large message. */
        {
                static const uint8_t push[] = { 0, 0, 0, 2, 0x88 };

                wire_frame(w, true, H2FRAME_PUSH_PROMISE, H2FRAME_END_HEADERS, 13, push, sizeof(push));
        }
        wire_frame(w, false, 0x42, 0xff, 19, "future", 6);
        wire_frame(w, false, H2FRAME_PRIORITY, 0, 21, "\0\0\0\0\x10", 5);
        wire_headers(w, false, 21, 0, WIRE_FIELDS(WIRE_REQUEST(R "UpdateContainerResources"), "traceparent", "broken"));
        large.p = calloc(1, 70000);
        assert_non_null(large.p);
        large.n = 70000;
        m = grpc_wrap(&large, false);
        for (size_t at = 0; at < m.n; at += 16384)
                wire_data(w, false, 21, 0, m.p + at, MIN((size_t) 16384, m.n - at));
        wire_headers(w, false, 21, WIRE_END_STREAM, WIRE_FIELDS("x-trailer", "1"));
        wire_frame(w, false, H2FRAME_WINDOW_UPDATE, 0, 0, "\0\0\1\0", 4);
        wire_reply(w, 21, m.p, m.n > 16384 ? 16384 : m.n, "0");
        bytes_free(&m);

        wire_headers(w, false, 23, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Version")));
        wire_headers(w, false, 25, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Version")));
        wire_frame(w, true, H2FRAME_GOAWAY, 0, 0, "\0\0\0\x17\0\0\0\0bye", 11);
        wire_headers(w, true, 23, WIRE_END_STREAM, WIRE_FIELDS(":status", "503"));
        wire_headers(w, false, 27, 0, WIRE_FIELDS(WIRE_REQUEST(R "Unknown")));
}

static const char events[] = "begin 1 Version 5s\nsent 1 5\nend 1 6 how=0 status=0 http=0 \n"
                             "begin 3 RunPodSandbox\nsent 3 9\nend 3 5 how=0 status=0 http=0 \n"
                             "begin 5 StopContainer\nsent 5 5\n"
                             "begin 7 CreateContainer\nbegin 9 StartContainer\nbegin 11 StopPodSandbox tp\n"
                             "sent 11 5\nsent 7 11\nsent 9 7\n"
                             "end 7 5 how=0 status=0 http=0 \nend 5 5 how=0 status=5 http=0 \n"
                             "end 9 5 how=0 status=0 http=0 \nbegin 13 RemovePodSandbox\nsent 13 0\n"
                             "begin 15 PullImage\nsent 15 0\nbegin 17 RemoveImage\nsent 17 0\n"
                             "end 11 5 how=0 status=2 http=0 \nend 13 5 how=0 status=0 http=0 \n"
                             "end 15 0 how=1 error=8\nend 17 0 how=2 error=7\n"
                             "begin 19 Status\nsent 19 0\nend 19 0 how=0 status=12 http=200 no such\n"
                             "begin 21 UpdateContainerResources bad-tp\nsent 21 70005\n"
                             "end 21 16384 how=0 status=0 http=0 \n"
                             "begin 23 Version\nsent 23 0\nbegin 25 Version\nsent 25 0\nend 25 0 how=3\n"
                             "end 23 0 how=0 status=-1 http=503 \nbegin 27 Unknown\nend 27 0 how=4\n";

/* Without injection the bytes are the same, and the events too, however the bytes come. */
static void verbatim(void **state) {
        Wire w;
        Bytes in, out;

        (void) state;
        dialogue(&w);
        in = wire_all(&w, false);
        for (unsigned i = 0; i < 400; i++) {
                Owner o = {};

                seed = i;
                out = play(&w, &o, i % 2, i < 4 ? i / 2 : i % 3 == 0 ? 5000 : 1 + i % 97);
                assert_int_equal(out.n, in.n);
                assert_memory_equal(out.p, in.p, in.n);
                assert_int_equal(o.plain, 0);
                assert_string_equal(o.log, events);
                bytes_free(&out);
        }
        bytes_free(&in);
        wire_deinit(&w);
}

/* With it, one field behind each mutating call's headers that had none, and nothing else. */
static void one_field_more(void **state) {
        /* What the runtime's two SETTINGS said, as the client acknowledges them; "twice" shrinks to 0 on the way. */
        static const uint32_t tables[] = { 65536, 1000, UINT32_MAX };
        unsigned none, dropped;
        Wire w;
        Bytes in, out;
        char *before, *after;

        (void) state;
        dialogue(&w);
        in = wire_all(&w, false);
        before = wire_text(&in, tables, NULL, &none, 16384);
        for (unsigned i = 0; i < 400; i++) {
                Owner o = { .inject = true, .n_wait = 1 + i % 9 };

                seed = i * 7919;
                out = play(&w, &o, true, i < 4 ? i : i % 3 == 0 ? 5000 : 1 + i % 97);
                assert_int_equal(o.plain, 0);
                after = wire_text(&out, tables, INJECTED, &dropped, 16384);
                assert_string_equal(before, after);
                /* 3, 5, 7, 9, 13, 15, 17: 11 and 21 had their own. */
                assert_int_equal(dropped, 7);
                assert_int_equal(o.n_injected, 7);
                assert_string_equal(o.log, events);
                free(after);
                bytes_free(&out);
        }
        free(before);
        bytes_free(&in);
        wire_deinit(&w);
}

/* As if nothing had happened, when another process takes over again and again, at each point where it can. */
static void moved(void **state) {
        Wire w;
        Bytes in, out;

        (void) state;
        dialogue(&w);
        in = wire_all(&w, false);
        for (unsigned i = 0; i < 60; i++) {
                Owner o = { .moves = true }, p = { .moves = true, .inject = true, .n_wait = 1 + i % 9 };

                seed = i;
                out = play(&w, &o, i % 2, i < 4 ? i / 2 : i % 3 == 0 ? 5000 : 1 + i % 97);
                assert_int_equal(out.n, in.n);
                assert_memory_equal(out.p, in.p, in.n);
                assert_int_equal(o.plain, 0);
                assert_string_equal(o.log, events);
                bytes_free(&out);

                out = play(&w, &p, true, i < 4 ? i / 2 : i % 3 == 0 ? 5000 : 1 + i % 97);
                assert_int_equal(p.plain, 0);
                assert_int_equal(p.n_injected, 7);
                assert_true(out.n > in.n);
                assert_string_equal(p.log, events);
                bytes_free(&out);
        }
        bytes_free(&in);
        wire_deinit(&w);
}

/* What the runtime announces bounds what is added. */
static void peers_limits(void **state) {
        static const uint32_t limits[][5] = {
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 16384, 0 },
                /* Against the RFC: the field, of 69 bytes, goes into a frame of its own, or nowhere. */
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 16383, 0 },
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 100, 0 },
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 69, 0 },
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 68, 0 },
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, 0, 0 },
                { H2FRAME_SETTINGS_MAX_FRAME_SIZE, UINT32_MAX, 0 },
                { H2FRAME_SETTINGS_MAX_HEADER_LIST_SIZE, 413, 0 },
                { H2FRAME_SETTINGS_MAX_HEADER_LIST_SIZE, 414, 0 },
        };
        /* :method 7+4, :scheme 7+4, :path 5+40, :authority 10+9, content-type 12+16, te 2+8, traceparent 11+55, 7 * 32.
         */
        static const bool expect[] = { true, true, true, true, false, false, true, false, true };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
                Owner o = { .inject = true };
                Wire w;
                Bytes out;

                wire_init(&w);
                wire_preface(&w, NULL, limits[i]);
                wire_headers(&w, false, 1, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox")));
                out = play(&w, &o, true, 0);
                assert_int_equal(o.n_injected, expect[i]);
                bytes_free(&out);
                wire_deinit(&w);
        }
}

/* A frame as large as the runtime takes gets a CONTINUATION. */
static void full_frame(void **state) {
        Owner o = { .inject = true };
        Wire w;
        Bytes in, out;
        char *before, *after, value[4000];
        unsigned n;

        (void) state;
        memset(value, '\\', sizeof(value) - 1); /* a character for which Huffman codes are no help */
        value[sizeof(value) - 1] = 0;
        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_headers(&w, false, 1, 0,
                     WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox"), "a", value, "b", value, "c", value, "d", value, "e",
                                 value + sizeof(value) - 1 - 270));
        in = wire_all(&w, false);
        assert_in_range(in.n, 16384 - 69 + 24 + 27, 16384 + 24 + 27);
        before = wire_text(&in, NULL, NULL, &n, 16384);
        for (unsigned piece = 0; piece < 3; piece++) {
                Owner p = o;

                out = play(&w, &p, true, piece * 1000);
                after = wire_text(&out, NULL, INJECTED, &n, 16384);
                assert_int_equal(n, 1);
                assert_string_equal(before, after);
                assert_int_equal(out.n, in.n + 69 + 9);
                free(after);
                bytes_free(&out);
        }
        free(before);
        bytes_free(&in);
        wire_deinit(&w);
}

/* A call that waits is given out with the moment's end, undecided or not, and its stream's reset ends the waiting. */
static void waiting_ends(void **state) {
        Owner o = { .inject = true, .n_wait = 1000 };
        struct iovec iov[HOLD_IOV];
        Wire w;
        Bytes out = {};
        Tap tap;

        (void) state;
        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        tap_init(&tap, &ops, &o, true);
        for (unsigned i = 0; i < w.n_turns; i++)
                if (w.turns[i].runtime)
                        tap_reply(&tap, w.turns[i].bytes.p, w.turns[i].bytes.n);
                else {
                        tap_request(&tap, w.turns[i].bytes.p, w.turns[i].bytes.n, iov);
                        take(&tap, iov, &out);
                }
        assert_false(tap_waits(&tap));
        bytes_free(&out);

        wire_ack(&w, true); /* not played: begins a new turn */
        wire_headers(&w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
        tap_request(&tap, w.turns[w.n_turns - 1].bytes.p, w.turns[w.n_turns - 1].bytes.n, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, 0);
        assert_true(tap_waits(&tap));
        tap_release(&tap, UINT64_MAX, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, w.turns[w.n_turns - 1].bytes.n + 69);
        assert_false(tap_waits(&tap));
        bytes_free(&out);

        /* Each waits for itself: what came later is not decided with what came first. */
        for (unsigned i = 0; i < 2; i++) {
                wire_ack(&w, true);
                wire_headers(&w, false, 3 + 2 * i, 0, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
                tap.now_ns = 100 + 100 * i;
                tap_request(&tap, w.turns[w.n_turns - 1].bytes.p, w.turns[w.n_turns - 1].bytes.n, iov);
                take(&tap, iov, &out);
                assert_int_equal(out.n, 0);
        }
        assert_int_equal(tap_waits_since(&tap), 100);
        tap_release(&tap, 99, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, 0);
        tap_release(&tap, 199, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, w.turns[w.n_turns - 3].bytes.n + 69);
        assert_int_equal(tap_waits_since(&tap), 200);
        bytes_free(&out);
        tap_release(&tap, 200, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, w.turns[w.n_turns - 1].bytes.n + 69);
        assert_false(tap_waits(&tap));
        bytes_free(&out);

        wire_ack(&w, true);
        wire_headers(&w, false, 7, 0, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
        wire_frame(&w, false, H2FRAME_RST_STREAM, 0, 7, "\0\0\0\x08", 4);
        tap_request(&tap, w.turns[w.n_turns - 1].bytes.p, w.turns[w.n_turns - 1].bytes.n, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, w.turns[w.n_turns - 1].bytes.n);
        assert_false(tap_waits(&tap));
        bytes_free(&out);

        tap_deinit(&tap, TAP_END_SHUTDOWN);
        wire_deinit(&w);
}

static void sixteen_mebibytes(void **state) {
        Owner o = { .inject = true, .n_wait = 100 };
        Bytes m = {}, wrapped, in, out;
        Wire w;
        char *before, *after;
        unsigned n;

        (void) state;
        m.n = 16U << 20;
        m.p = malloc(m.n);
        assert_non_null(m.p);
        for (size_t i = 0; i < m.n; i++)
                m.p[i] = (uint8_t) (i * 2654435761U >> 13);
        wrapped = grpc_wrap(&m, false);
        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_headers(&w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
        for (size_t at = 0; at < wrapped.n; at += 16384)
                wire_data(&w, false, 1, at + 16384 >= wrapped.n ? WIRE_END_STREAM : 0, wrapped.p + at,
                          MIN((size_t) 16384, wrapped.n - at));
        in = wire_all(&w, false);
        before = wire_text(&in, NULL, NULL, &n, 16384);
        out = play(&w, &o, true, 100000);
        after = wire_text(&out, NULL, INJECTED, &n, 16384);
        assert_int_equal(n, 1);
        assert_string_equal(before, after);
        free(before);
        free(after);
        bytes_free(&wrapped);
        bytes_free(&in);
        bytes_free(&out);
        wire_deinit(&w);
}

/* What is not HTTP/2, or stops being it, goes on as it is. */
static void surprises(void **state) {
        static const struct {
                const char *what;
                const char *client;
                size_t n_client;
                const char *runtime;
                size_t n_runtime;
                bool preface;
        } cases[] = {
                { "HTTP/1", "GET /info HTTP/1.1\r\n\r\n", 22, "HTTP/1.1 200 OK\r\n\r\n", 19, false },
                { "preface, almost", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", 24, "", 0, false },
                { "garbage", "\0\1\2\3\4\5\6\7\xff", 9, "", 0, false },
                { "no SETTINGS first", H2FRAME_PREFACE "\0\0\0\0\0\0\0\0\1", 33, "", 0, false },
                { "runtime without SETTINGS", "", 0, "\0\0\0\0\1\0\0\0\1", 9, false },
                { "HPACK: index out of range", "\0\0\1\1\5\0\0\0\1\xff", 10, "", 0, true },
                { "HPACK: cut", "\0\0\1\1\5\0\0\0\1\x40", 10, "", 0, true },
                { "stream 0", "\0\0\1\1\5\0\0\0\0\x82", 10, "", 0, true },
                { "even stream", "\0\0\1\1\5\0\0\0\2\x82", 10, "", 0, true },
                { "DATA on stream 0", "\0\0\1\0\0\0\0\0\0x", 10, "", 0, true },
                { "CONTINUATION out of place", "\0\0\1\x09\4\0\0\0\1\x82", 10, "", 0, true },
                { "no CONTINUATION",
                  "\0\0\1\1\0\0\0\0\1\x82\0\0\x08\6\0\0\0\0\0"
                  "12345678",
                  27, "", 0, true },
                { "SETTINGS of 5 bytes",
                  "\0\0\5\4\0\0\0\0\0"
                  "12345",
                  14, "", 0, true },
                { "ACK with a payload",
                  "\0\0\6\4\1\0\0\0\0"
                  "123456",
                  15, "", 0, true },
                { "ACK of nothing", "\0\0\0\4\1\0\0\0\0", 9, "", 0, true },
                { "RST_STREAM of 3 bytes",
                  "\0\0\3\3\0\0\0\0\1"
                  "123",
                  12, "", 0, true },
                { "padding longer than the frame", "\0\0\2\1\x0d\0\0\0\1\x05\x82", 11, "", 0, true },
                { "PADDED and empty", "\0\0\0\1\x0c\0\0\0\1", 9, "", 0, true },
                { "PUSH_PROMISE from a client", "\0\0\5\5\4\0\0\0\1\0\0\0\2\x82", 14, "", 0, true },
                { "GOAWAY of 4 bytes", "", 0,
                  "\0\0\4\7\0\0\0\0\0"
                  "1234",
                  13, true },
                { "table of 2 GiB", "\0\0\6\4\0\0\0\0\0\0\1\x7f\xff\xff\xff", 15, "\0\0\0\4\1\0\0\0\0", 9, true },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
                for (unsigned piece = 0; piece < 12; piece++) {
                        Owner o = { .inject = true, .n_wait = 5 };
                        Wire w;
                        Bytes in, out;

                        seed = piece;
                        wire_init(&w);
                        if (cases[i].preface)
                                wire_preface(&w, NULL, NULL);
                        bytes_add(wire_turn(&w, false), cases[i].client, cases[i].n_client);
                        bytes_add(wire_turn(&w, true), cases[i].runtime, cases[i].n_runtime);
                        bytes_add(wire_turn(&w, false), "whatever follows", 16);
                        bytes_add(wire_turn(&w, true), "whatever follows", 16);
                        in = wire_all(&w, false);
                        out = play(&w, &o, true, piece);
                        if (o.plain == 0 || out.n != in.n || memcmp(out.p, in.p, in.n) != 0)
                                fail_msg("%s: plain %d, %zu of %zu bytes", cases[i].what, o.plain, out.n, in.n);
                        bytes_free(&in);
                        bytes_free(&out);
                        wire_deinit(&w);
                }
}

/* An ACK for a SETTINGS frame that is still coming. */
static void ack_too_early(void **state) {
        Owner o = {};
        struct iovec iov[HOLD_IOV];
        Tap tap;

        (void) state;
        tap_init(&tap, &ops, &o, true);
        tap_request(&tap, (const uint8_t *) H2FRAME_PREFACE "\0\0\x0c\4\0\0\0\0\0\0\1", 35, iov);
        assert_int_equal(iov[0].iov_len, 35);
        tap_request_done(&tap);
        tap_reply(&tap, (const uint8_t *) "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0", 18);
        assert_int_equal(o.plain, -EPROTO);
        tap_request(&tap, (const uint8_t *) "\0\0\0\1\0\1\0\0\0\2", 10, iov);
        assert_int_equal(iov[0].iov_len, 10);
        tap_deinit(&tap, TAP_END_SHUTDOWN);
}

/* A decoding error ends the events of calls in flight and gives out what was kept back, in order. */
static void degrades_in_flight(void **state) {
        Owner o = { .inject = true, .n_wait = 1000 };
        struct iovec iov[HOLD_IOV];
        Wire w;
        Bytes in, out = {};
        Tap tap;

        (void) state;
        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_headers(&w, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "CreateContainer")));
        in = wire_all(&w, false);
        tap_init(&tap, &ops, &o, true);
        for (unsigned i = 0; i < w.n_turns; i++)
                if (w.turns[i].runtime)
                        tap_reply(&tap, w.turns[i].bytes.p, w.turns[i].bytes.n);
                else {
                        tap_request(&tap, w.turns[i].bytes.p, w.turns[i].bytes.n, iov);
                        take(&tap, iov, &out);
                }
        assert_true(out.n < in.n);
        tap_reply(&tap, (const uint8_t *) "\0\0\1\1\5\0\0\0\1\xff", 10);
        assert_int_equal(o.plain, -EBADMSG);
        assert_true(tap_waits(&tap));
        tap_release(&tap, UINT64_MAX, iov);
        take(&tap, iov, &out);
        assert_int_equal(out.n, in.n);
        assert_memory_equal(out.p, in.p, in.n);
        assert_string_equal(o.log, "begin 1 CreateContainer\nend 1 0 how=7\n");
        tap_deinit(&tap, TAP_END_SHUTDOWN);
        bytes_free(&in);
        bytes_free(&out);
        wire_deinit(&w);
}

static void bounded_streams(void **state) {
        Owner o = {};
        struct iovec iov[HOLD_IOV];
        nghttp2_hd_deflater *deflater;
        uint8_t block[256], head[9];
        Bytes in = {};
        Tap tap;

        (void) state;
        assert_int_equal(nghttp2_hd_deflate_new(&deflater, 4096), 0);
        tap_init(&tap, &ops, &o, false);
        bytes_add(&in, H2FRAME_PREFACE "\0\0\0\4\0\0\0\0\0", 33);
        for (unsigned i = 0; i < TAP_STREAMS_MAX + 3; i++) {
                nghttp2_nv nv = { (uint8_t *) ":path", (uint8_t *) "/a/b", 5, 4, 0 };
                ssize_t r = nghttp2_hd_deflate_hd(deflater, block, sizeof(block), &nv, 1);
                H2Frame f = { .length = (uint32_t) r, .type = 1, .flags = 4, .stream = 2 * i + 1 };

                assert_true(r > 0);
                h2frame_write(&f, head);
                bytes_add(&in, head, 9);
                bytes_add(&in, block, (size_t) r);
        }
        o.log[0] = 0;
        tap_request(&tap, in.p, in.n, iov);
        assert_int_equal(iov[0].iov_len, in.n);
        tap_request_done(&tap);
        assert_int_equal(tap.n_streams, TAP_STREAMS_MAX);
        assert_int_equal(o.n_open, TAP_STREAMS_MAX);
        tap_deinit(&tap, TAP_END_SHUTDOWN);
        assert_int_equal(o.n_open, 0);
        nghttp2_hd_deflate_del(deflater);
        bytes_free(&in);
}

/* Kept back is only what may change, and no longer than that is open. */
static void keeps_nothing_needlessly(void **state) {
        Owner o = { .inject = true };
        struct iovec iov[HOLD_IOV];
        Wire w;
        Bytes in;
        Tap tap;
        size_t given = 0;

        (void) state;
        wire_init(&w);
        wire_preface(&w, NULL, NULL);
        wire_ack(&w, true);
        wire_headers(&w, false, 1, 0,
                     WIRE_FIELDS(":path", R "Version", "k", "a value of some length, which comes late"));
        wire_data(&w, false, 1, WIRE_END_STREAM, "\0\0\0\0\0", 5);
        in = wire_all(&w, false);
        tap_init(&tap, &ops, &o, true);
        tap_reply(&tap, w.turns[1].bytes.p, w.turns[1].bytes.n);
        for (size_t i = 0; i < in.n; i++) {
                size_t kept;

                tap_request(&tap, in.p + i, 1, iov);
                given += iov[0].iov_len + iov[1].iov_len;
                tap_request_done(&tap);
                kept = i + 1 - given;
                /* A frame header in pieces, and then the block up to :path. */
                assert_true(kept <= 9 + 2 + strlen(R "Version") + 2);
        }
        assert_int_equal(given, in.n);
        tap_deinit(&tap, TAP_END_SHUTDOWN);
        bytes_free(&in);
        wire_deinit(&w);
}

static void feed_new(Tap *tap, const Wire *w, unsigned *n_fed) {
        struct iovec iov[HOLD_IOV];
        Bytes out = {};

        for (; *n_fed < w->n_turns; (*n_fed)++) {
                const WireTurn *t = &w->turns[*n_fed];

                if (t->runtime)
                        tap_reply(tap, t->bytes.p, t->bytes.n);
                else {
                        tap_request(tap, t->bytes.p, t->bytes.n, iov);
                        take(tap, iov, &out);
                }
        }
        bytes_free(&out);
}

/* Calls that met a GOAWAY on their way: of those about which the runtime says nothing the tap is told at last. */
static void crossed_goaway(void **state) {
        unsigned n_fed = 0;
        Owner o = {};
        Wire w;
        Tap tap;

        (void) state;
        wire_init(&w);
        tap_init(&tap, &ops, &o, false);
        wire_preface(&w, (const uint32_t[]){ 0 }, (const uint32_t[]){ 0 });
        wire_headers(&w, false, 1, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Version")));
        /* As grpc-go begins to drain: nothing is refused yet. */
        wire_frame(&w, true, H2FRAME_GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0", 8);
        wire_headers(&w, false, 3, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Status")));
        wire_frame(&w, true, H2FRAME_GOAWAY, 0, 0, "\0\0\0\3\0\0\0\0", 8);
        wire_headers(&w, false, 5, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Attach")));
        wire_headers(&w, false, 7, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "Exec")));
        wire_headers(&w, false, 9, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "PortForward")));
        feed_new(&tap, &w, &n_fed);
        assert_int_equal(tap.n_crossed, 3);

        /* Not so soon: the next tick may be a moment later. One of them is answered, if only by a window. */
        tap_tick(&tap);
        wire_frame(&w, true, H2FRAME_WINDOW_UPDATE, 0, 7, "\0\0\1\0", 4);
        wire_reply(&w, 9, "\0\0\0\0\0", 5, "0");
        wire_headers(&w, false, 11, WIRE_END_STREAM, WIRE_FIELDS(WIRE_REQUEST(R "ListPodSandbox")));
        feed_new(&tap, &w, &n_fed);
        tap_tick(&tap);
        assert_int_equal(tap.n_crossed, 1);
        tap_tick(&tap);
        tap_tick(&tap);
        assert_int_equal(tap.n_crossed, 0);
        /* Those that GOAWAY let in, and the one that was answered, go on as long as they like. */
        wire_reply(&w, 7, "\0\0\0\0\0", 5, "0");
        wire_reply(&w, 11, "\0\0\0\0\0", 5, "0");
        feed_new(&tap, &w, &n_fed);
        tap_deinit(&tap, TAP_END_CONNECTION_CLIENT);
        wire_deinit(&w);
        assert_int_equal(o.plain, 0);
        assert_string_equal(o.log, "begin 1 Version\nsent 1 0\nbegin 3 Status\nsent 3 0\nbegin 5 Attach\nsent 5 0\n"
                                   "begin 7 Exec\nsent 7 0\nbegin 9 PortForward\nsent 9 0\n"
                                   "end 9 5 how=0 status=0 http=0 \nbegin 11 ListPodSandbox\nsent 11 0\n"
                                   "end 5 0 how=3\nend 11 0 how=3\nend 7 5 how=0 status=0 http=0 \n"
                                   "end 1 0 how=4\nend 3 0 how=4\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(verbatim),
                cmocka_unit_test(crossed_goaway),
                cmocka_unit_test(one_field_more),
                cmocka_unit_test(peers_limits),
                cmocka_unit_test(full_frame),
                cmocka_unit_test(waiting_ends),
                cmocka_unit_test(sixteen_mebibytes),
                cmocka_unit_test(surprises),
                cmocka_unit_test(ack_too_early),
                cmocka_unit_test(degrades_in_flight),
                cmocka_unit_test(bounded_streams),
                cmocka_unit_test(keeps_nothing_needlessly),
                cmocka_unit_test(moved),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
