#include <string.h>
#include "tap.h"
#include "util.h"

/*
 * Both directions of a connection, interleaved: a byte says whose the next piece is (bit 0) and how long (the rest).
 * With bit 7 of the first byte set fields may be appended. Without, what comes out must be what went in; with, nothing
 * of it may be lost.
 */

typedef struct State {
        uint64_t in, out; /* hashes of the client's bytes */
        size_t n_in, n_out;
        size_t n_injected;
        bool may_inject;
} State;

typedef struct Followed {
        TapStream stream;
        unsigned n_asked;
} Followed;

static TapStream *on_begin(Tap *tap _unused_, uint32_t id _unused_, const TapHeaders *headers) {
        Followed *followed;

        if (!headers->method || strlen(headers->path) >= sizeof(headers->path))
                abort();
        followed = calloc(1, sizeof(*followed));
        if (!followed)
                return NULL;
        followed->stream.want_request = followed->stream.want_reply = true;
        return &followed->stream;
}

static void on_unseen(Tap *tap _unused_, const TapHeaders *headers _unused_) {
}

static TapInject on_inject(Tap *tap, TapStream *stream, bool final, char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]) {
        Followed *followed = container_of(stream, Followed, stream);
        State *state = tap->userdata;

        if (!state->may_inject)
                return TAP_INJECT_NO;
        if (!final && followed->n_asked++ < stream->id % 3)
                return TAP_INJECT_WAIT;
        memcpy(ret, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TRACECONTEXT_TRACEPARENT_LEN + 1);
        return TAP_INJECT_YES;
}

static void on_injected(Tap *tap, TapStream *stream _unused_) {
        ((State *) tap->userdata)->n_injected++;
}

static void on_data(Tap *tap _unused_, TapStream *stream _unused_, const uint8_t *data, size_t len) {
        volatile uint8_t sum = 0;

        for (size_t i = 0; i < len; i++)
                sum = (uint8_t) (sum + data[i]);
}

static void on_request_end(Tap *tap _unused_, TapStream *stream _unused_) {
}

static void on_end(Tap *tap _unused_, TapStream *stream, TapEnd how _unused_, const TapHeaders *headers _unused_,
                   uint32_t error _unused_) {
        free(container_of(stream, Followed, stream));
}

static void on_plain(Tap *tap _unused_, int error) {
        if (error >= 0)
                abort();
}

static const TapOps ops = {
        .begin = on_begin,
        .unseen = on_unseen,
        .inject = on_inject,
        .injected = on_injected,
        .request_data = on_data,
        .request_end = on_request_end,
        .reply_data = on_data,
        .end = on_end,
        .plain = on_plain,
};

static void take(Tap *tap, State *state, const struct iovec iov[static HOLD_IOV]) {
        for (unsigned i = 0; i < HOLD_IOV; i++) {
                if (iov[i].iov_len > 0)
                        state->out = util_hash(state->out, iov[i].iov_base, iov[i].iov_len);
                state->n_out += iov[i].iov_len;
        }
        tap_request_done(tap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        State state = { .in = UTIL_HASH_INIT, .out = UTIL_HASH_INIT };
        struct iovec iov[HOLD_IOV];
        Tap tap;

        if (size == 0)
                return 0;
        state.may_inject = data[0] & 0x80;
        tap_init(&tap, &ops, &state, data[0] & 0x40);

        for (size_t at = 1; at < size;) {
                bool runtime = data[at] & 1;
                size_t n = MIN((size_t) (data[at] >> 1), size - at - 1);
                uint8_t *piece;

                at++;
                piece = malloc(n ? n : 1);
                if (!piece)
                        break;
                memcpy(piece, data + at, n);
                at += n;
                if (runtime && n == 0)
                        tap_tick(&tap);
                else if (runtime)
                        tap_reply(&tap, piece, n);
                else if (n > 0) {
                        state.in = util_hash(state.in, piece, n);
                        state.n_in += n;
                        tap_request(&tap, piece, n, iov);
                        take(&tap, &state, iov);
                } else {
                        tap_release(&tap, UINT64_MAX, iov);
                        take(&tap, &state, iov);
                }
                free(piece);
        }
        tap_release_end(&tap, iov);
        take(&tap, &state, iov);
        tap_deinit(&tap, TAP_END_SHUTDOWN);

        if (state.n_injected == 0 ? state.in != state.out || state.n_in != state.n_out
                                  : state.n_out < state.n_in + 69 * state.n_injected ||
                                            state.n_out > state.n_in + 78 * state.n_injected)
                abort();
        return 0;
}
