#pragma once

/*
 * HTTP/2 dialogues for tests: frames and header blocks written with nghttp2's encoder, and read back by a reader of
 * this file's own, so that what the tap gives out is judged by somebody else.
 */

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include "h2frame.h"
#include "proto.h"
#include "util.h"

#define WIRE_TURNS_MAX 128

typedef struct WireTurn {
        bool runtime;
        Bytes bytes;
} WireTurn;

/* Turns follow each other: what is in one was sent after everything before it had arrived. */
typedef struct Wire {
        WireTurn turns[WIRE_TURNS_MAX];
        unsigned n_turns;
        nghttp2_hd_deflater *deflater[2];
} Wire;

static inline void wire_init(Wire *w) {
        memset(w, 0, sizeof(*w));
        assert_int_equal(nghttp2_hd_deflate_new(&w->deflater[0], 65536), 0);
        assert_int_equal(nghttp2_hd_deflate_new(&w->deflater[1], 65536), 0);
}

static inline void wire_deinit(Wire *w) {
        for (unsigned i = 0; i < w->n_turns; i++)
                bytes_free(&w->turns[i].bytes);
        nghttp2_hd_deflate_del(w->deflater[0]);
        nghttp2_hd_deflate_del(w->deflater[1]);
}

static inline Bytes *wire_turn(Wire *w, bool runtime) {
        if (w->n_turns == 0 || w->turns[w->n_turns - 1].runtime != runtime) {
                assert_true(w->n_turns < WIRE_TURNS_MAX);
                w->turns[w->n_turns++].runtime = runtime;
        }
        return &w->turns[w->n_turns - 1].bytes;
}

static inline void wire_frame(Wire *w, bool runtime, uint8_t type, uint8_t flags, uint32_t stream, const void *p,
                              size_t n) {
        H2Frame f = { .length = (uint32_t) n, .type = type, .flags = flags, .stream = stream };
        Bytes *b = wire_turn(w, runtime);
        uint8_t head[9];

        h2frame_write(&f, head);
        bytes_add(b, head, 9);
        bytes_add(b, p, n);
}

/* @settings: pairs of id and value, ended by an id of 0. */
static inline void wire_settings(Wire *w, bool runtime, const uint32_t *settings) {
        Bytes b = {};

        for (; settings && *settings; settings += 2) {
                uint8_t s[6] = { 0,
                                 (uint8_t) settings[0],
                                 (uint8_t) (settings[1] >> 24),
                                 (uint8_t) (settings[1] >> 16),
                                 (uint8_t) (settings[1] >> 8),
                                 (uint8_t) settings[1] };

                bytes_add(&b, s, 6);
        }
        wire_frame(w, runtime, H2FRAME_SETTINGS, 0, 0, b.p ? (void *) b.p : "", b.n);
        bytes_free(&b);
}

static inline void wire_ack(Wire *w, bool runtime) {
        wire_frame(w, runtime, H2FRAME_SETTINGS, H2FRAME_ACK, 0, "", 0);
}

static inline void wire_preface(Wire *w, const uint32_t *client, const uint32_t *runtime) {
        bytes_add(wire_turn(w, false), H2FRAME_PREFACE, H2FRAME_PREFACE_LEN);
        wire_settings(w, false, client);
        wire_settings(w, true, runtime);
        wire_ack(w, true);
        wire_ack(w, false);
}

enum {
        WIRE_END_STREAM = 1,
        WIRE_PADDED = 2,
        WIRE_PRIORITY = 4,
        WIRE_CONTINUATION = 8, /* in three fragments */
};

/* @fields: "name", "value", …, NULL */
static inline void wire_headers(Wire *w, bool runtime, uint32_t stream, unsigned how, const char *const *fields) {
        nghttp2_nv nv[32];
        uint8_t block[65536];
        size_t n_nv = 0, at = 0, n_first;
        ssize_t n;
        Bytes first = {};
        uint8_t flags = how & WIRE_END_STREAM ? H2FRAME_END_STREAM : 0;

        for (; fields[0]; fields += 2)
                nv[n_nv++] = (nghttp2_nv){
                        .name = (uint8_t *) fields[0],
                        .namelen = strlen(fields[0]),
                        .value = (uint8_t *) fields[1],
                        .valuelen = strlen(fields[1]),
                };
        n = nghttp2_hd_deflate_hd(w->deflater[runtime], block, sizeof(block), nv, n_nv);
        assert_true(n > 0);
        n_first = how & WIRE_CONTINUATION ? (size_t) n / 3 : (size_t) n;

        if (how & WIRE_PADDED) {
                bytes_add(&first, "\x07", 1);
                flags |= H2FRAME_PADDED;
        }
        if (how & WIRE_PRIORITY) {
                bytes_add(&first, "\0\0\0\0\x10", 5);
                flags |= H2FRAME_HAS_PRIORITY;
        }
        bytes_add(&first, block, n_first);
        at = n_first;
        if (how & WIRE_PADDED)
                bytes_add(&first, "\0\0\0\0\0\0\0", 7);
        if (!(how & WIRE_CONTINUATION))
                flags |= H2FRAME_END_HEADERS;
        wire_frame(w, runtime, H2FRAME_HEADERS, flags, stream, first.p, first.n);
        bytes_free(&first);
        if (how & WIRE_CONTINUATION) {
                wire_frame(w, runtime, H2FRAME_CONTINUATION, 0, stream, block + at, n_first);
                at += n_first;
                wire_frame(w, runtime, H2FRAME_CONTINUATION, H2FRAME_END_HEADERS, stream, block + at, (size_t) n - at);
        }
}

#define WIRE_REQUEST(path)                                                                              \
        ":method", "POST", ":scheme", "http", ":path", path, ":authority", "localhost", "content-type", \
                "application/grpc", "te", "trailers"
#define WIRE_FIELDS(...)          \
        (const char *const[]) {   \
                __VA_ARGS__, NULL \
        }

static inline void wire_data(Wire *w, bool runtime, uint32_t stream, unsigned how, const void *p, size_t n) {
        Bytes b = {};
        uint8_t flags = how & WIRE_END_STREAM ? H2FRAME_END_STREAM : 0;

        if (how & WIRE_PADDED) {
                bytes_add(&b, "\x05", 1);
                flags |= H2FRAME_PADDED;
        }
        bytes_add(&b, p, n);
        if (how & WIRE_PADDED)
                bytes_add(&b, "\0\0\0\0\0", 5);
        wire_frame(w, runtime, H2FRAME_DATA, flags, stream, b.p ? (void *) b.p : "", b.n);
        bytes_free(&b);
}

/* An empty message in, an empty one out, status OK. */
static inline void wire_reply(Wire *w, uint32_t stream, const void *p, size_t n, const char *status) {
        wire_headers(w, true, stream, 0, WIRE_FIELDS(":status", "200", "content-type", "application/grpc"));
        if (n > 0)
                wire_data(w, true, stream, 0, p, n);
        wire_headers(w, true, stream, WIRE_END_STREAM, WIRE_FIELDS("grpc-status", status, "grpc-message", ""));
}

static inline Bytes wire_all(const Wire *w, bool runtime) {
        Bytes all = {};

        for (unsigned i = 0; i < w->n_turns; i++)
                if (w->turns[i].runtime == runtime)
                        bytes_add(&all, w->turns[i].bytes.p, w->turns[i].bytes.n);
        return all;
}

/*
 * Reads what a client sent and writes it as text: a line a header block, and one a frame of any other kind. Header
 * blocks are named by their contents, not by their frames. "traceparent: " @drop fields are left out and counted.
 */
static inline char *wire_text(const Bytes *in, const uint32_t *table_sizes, const char *drop, unsigned *ret_dropped,
                              uint32_t max_frame) {
        nghttp2_hd_inflater *inflater;
        Bytes text = {}, block = {};
        size_t at = H2FRAME_PREFACE_LEN;
        unsigned n_acks = 0;
        bool end_stream = false;
        char line[1024];

        *ret_dropped = 0;
        assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
        assert_true(in->n >= at && memcmp(in->p, H2FRAME_PREFACE, at) == 0);
        while (at < in->n) {
                H2FrameReader reader = {};
                bool complete;
                H2Frame f;
                const uint8_t *p;
                size_t n;

                at += h2frame_read(&reader, in->p + at, in->n - at, &f, &complete);
                assert_true(complete && f.length <= in->n - at && f.length <= max_frame);
                p = in->p + at;
                n = f.length;
                at += n;

                if (f.type == H2FRAME_HEADERS || f.type == H2FRAME_CONTINUATION) {
                        if (f.type == H2FRAME_HEADERS)
                                end_stream = f.flags & H2FRAME_END_STREAM;
                        if (f.type == H2FRAME_HEADERS && (f.flags & H2FRAME_PADDED)) {
                                assert_true(n > p[0]);
                                n -= 1U + p[0];
                                p++;
                        }
                        if (f.type == H2FRAME_HEADERS && (f.flags & H2FRAME_HAS_PRIORITY)) {
                                p += 5;
                                n -= 5;
                        }
                        bytes_add(&block, p, n);
                        if (!(f.flags & H2FRAME_END_HEADERS))
                                continue;
                        (void) snprintf(line, sizeof(line), "H %u%s", f.stream, end_stream ? " end" : "");
                        bytes_add(&text, line, strlen(line));
                        for (size_t done = 0;;) {
                                nghttp2_nv nv;
                                int flags = 0;
                                ssize_t r = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, block.p + done,
                                                                   block.n - done, 1);

                                assert_true(r >= 0);
                                done += (size_t) r;
                                if (flags & NGHTTP2_HD_INFLATE_EMIT) {
                                        if (drop && strcmp((char *) nv.name, "traceparent") == 0 &&
                                            strcmp((char *) nv.value, drop) == 0) {
                                                (*ret_dropped)++;
                                                continue;
                                        }
                                        (void) snprintf(line, sizeof(line), " %s=%s", nv.name, nv.value);
                                        bytes_add(&text, line, strlen(line));
                                }
                                if (flags & NGHTTP2_HD_INFLATE_FINAL)
                                        break;
                        }
                        nghttp2_hd_inflate_end_headers(inflater);
                        bytes_free(&block);
                } else {
                        (void) snprintf(line, sizeof(line), "F %u %u %u %zu %016llx", f.type, f.flags, f.stream, n,
                                        (unsigned long long) util_hash(UTIL_HASH_INIT, p, n));
                        bytes_add(&text, line, strlen(line));
                        if (f.type == H2FRAME_SETTINGS && (f.flags & H2FRAME_ACK) && table_sizes &&
                            table_sizes[n_acks] != UINT32_MAX)
                                assert_int_equal(nghttp2_hd_inflate_change_table_size(inflater, table_sizes[n_acks++]),
                                                 0);
                }
                bytes_add(&text, "\n", 1);
        }
        nghttp2_hd_inflate_del(inflater);
        bytes_add(&text, "", 1);
        return (char *) text.p;
}
