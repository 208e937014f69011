#include <stdlib.h>
#include <string.h>
#include "callpack.h"
#include "handovermsg.h"
#include "tappack.h"

/*
 * What another podspan-cri hands over: a tap with its calls (bit 0 of the first byte), which then gets the bytes that
 * are left; else the map; and a packet. What was taken can be handed on.
 */

static void drop(Tap *tap _unused_, TapStream *stream, TapEnd how _unused_, const TapHeaders *headers _unused_,
                 uint32_t error _unused_) {
        callpack_drop(stream);
}

static void on_plain(Tap *tap _unused_, int error _unused_) {
}

static void hand_on(const Tap *tap) {
        static const TapOps gone = { .end = drop, .plain = on_plain };
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        Unpack unpack;
        Tap other;

        tappack_write(tap, &pack, callpack_write);
        unpack = unpack_make(pack.p, pack.n);
        tap_init(&other, &gone, tap->userdata, false);
        if (tappack_read(&other, &unpack, tap->hold.p, hold_kept(&tap->hold), callpack_read) < 0 || unpack.n > 0)
                abort();
        tap_deinit(&other, TAP_END_UNTRACKED);
}

static void take_tap(Calls *calls, const uint8_t *data, size_t size) {
        struct iovec iov[HOLD_IOV];
        Unpack unpack;
        size_t n_held;
        Tap tap;
        int r;

        n_held = MIN((size_t) data[0] % 16, size - 1);
        unpack = unpack_make(data + 1 + n_held, size - 1 - n_held);
        tap_init(&tap, &calls_tap_ops, calls, true);
        calls_set_now(calls);
        r = tappack_read(&tap, &unpack, data + 1, n_held, callpack_read);
        if (r == 0) {
                size_t half = unpack.n / 2;

                hand_on(&tap);
                tap_set_inject(&tap, true);
                tap_reply(&tap, unpack.p, half);
                tap_request(&tap, unpack.p + half, unpack.n - half, iov);
                tap_request_done(&tap);
        } else
                tap_degrade(&tap, r);
        tap_release_end(&tap, iov);
        tap_request_done(&tap);
        tap_deinit(&tap, TAP_END_SHUTDOWN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static Config config;
        HandoverMsg msg = {};
        Unpack unpack;
        Calls calls;

        if (size < 2)
                return 0;
        if (!config.link_annotations && config_defaults(&config) < 0)
                return 0;
        if (handovermsg_read(data + 1, size - 1, &msg) == 0 && msg.type >= _HANDOVER_TYPE_MAX)
                abort();
        handovermsg_deinit(&msg);

        if (calls_init(&calls, &config, "/run/rt.sock", -1, NULL) < 0)
                return 0;
        if (data[0] & 1)
                take_tap(&calls, data + 1, size - 1);
        else {
                unpack = unpack_make(data + 1, size - 1);
                (void) callpack_read_calls(&calls, &unpack);
        }
        calls_deinit(&calls);
        return 0;
}
