#include <errno.h>
#include <stdlib.h>
#include "tap.h"
#include "tapframe.h"
#include "tapinject.h"
#include "tapstreams.h"
#include "util.h"

/*
 * Frames are read from a copy of what passes. In the client's direction a frame that may get a field appended is kept
 * back from its first byte until that is decided, and with it everything behind it: HPACK and flow control need the
 * order. Decided is as soon as :path names a method that is never changed, or a traceparent appears; so in practice
 * nothing is kept back but a frame header that was cut in two, and calls which wait for the DATA that says whose they
 * are, normally in the same read.
 */

void tap_init(Tap *tap, const TapOps *ops, void *userdata, bool may_inject) {
        *tap = (Tap){
                .ops = ops,
                .userdata = userdata,
                .max_frame_size = H2FRAME_DEFAULT_MAX_FRAME_SIZE,
                .max_header_list = UINT32_MAX,
                .may_inject = may_inject,
        };
}

static void tap_release_memory(Tap *tap, TapEnd how) {
        tapstreams_end_above(tap, 0, how);
        tap->buckets = (free(tap->buckets), NULL);
        tap->pending = (free(tap->pending), NULL);
        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++) {
                hpackdec_deinit(&tap->dir[i].hpack);
                tap->dir[i].headers = (free(tap->dir[i].headers), NULL);
        }
}

void tap_deinit(Tap *tap, TapEnd how) {
        tap_release_memory(tap, how);
        hold_deinit(&tap->hold);
}

void tap_degrade(Tap *tap, int error) {
        if (tap->plain)
                return;
        tap->plain = true;
        tap->hold_frame = false;
        tap_release_memory(tap, TAP_END_UNTRACKED);
        tap->ops->plain(tap, error);
}

void tap_set_inject(Tap *tap, bool may_inject) {
        /* The beginning of a frame header was only kept back where fields might be appended. */
        tap->inject_soon = may_inject && !tap->may_inject && tap->dir[TAP_CLIENT].reader.n > 0;
        tap->may_inject = may_inject && !tap->inject_soon;
}

int tap_adopt(Tap *tap, TapStream *stream) {
        int r;

        if (tap->n_streams >= TAP_STREAMS_MAX || stream->id == 0 || tapstreams_lookup(tap, stream->id))
                return -EEXIST;
        r = tapstreams_make(tap);
        if (r == 0)
                tapstreams_insert(tap, stream);
        return r;
}

void tap_each(const Tap *tap, void (*fn)(TapStream *stream, void *userdata), void *userdata) {
        for (unsigned i = 0; tap->buckets && i < TAP_BUCKETS; i++)
                for (TapStream *stream = tap->buckets[i]; stream; stream = stream->next)
                        fn(stream, userdata);
}

size_t tap_memory(const Tap *tap) {
        size_t n = tap->hold.cap;

        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++)
                n += hpackdec_table_used(&tap->dir[i].hpack);
        return n;
}

static void tap_finish(Tap *tap, bool all, struct iovec ret[static HOLD_IOV]) {
        TapDir *dir = &tap->dir[TAP_CLIENT];
        size_t total, from;

        if (tap->n_pending > 0 && (all || hold_offset(&tap->hold, tap->hold.in_len) > TAP_HELD_MAX))
                tapinject_ask_since(tap, UINT64_MAX);

        total = from = hold_offset(&tap->hold, tap->hold.in_len);
        if (!tap->plain && !all) {
                if (tap->n_pending > 0)
                        from = tap->pending[0].off;
                if (tap->hold_frame)
                        from = MIN(from, tap->frame_off);
                /* The beginning of a frame header: nobody can use it yet, and it may become one that changes. */
                if (tap->may_inject && !dir->in_frame && dir->reader.n > 0 &&
                    (dir->reader.n < 4 || dir->reader.head[3] == H2FRAME_HEADERS ||
                     dir->reader.head[3] == H2FRAME_CONTINUATION))
                        from = MIN(from, total - dir->reader.n);
        }

        if (hold_end(&tap->hold, from, ret) < 0) {
                tap_degrade(tap, -ENOMEM);
                return;
        }
        for (unsigned i = 0; i < tap->n_pending; i++)
                tap->pending[i].off -= from;
        if (tap->hold_frame)
                tap->frame_off -= from;
}

void tap_request(Tap *tap, const uint8_t *data, size_t len, struct iovec ret[static HOLD_IOV]) {
        int r;

        if (tap->plain && hold_kept(&tap->hold) == 0) {
                ret[0] = (struct iovec){ .iov_base = (void *) data, .iov_len = len };
                ret[1] = (struct iovec){};
                return;
        }

        if (tap->inject_soon && tap->dir[TAP_CLIENT].reader.n == 0) {
                tap->inject_soon = false;
                tap->may_inject = true;
        }
        r = hold_begin(&tap->hold, data, len);
        if (!tap->plain) {
                if (r == 0)
                        r = tapframe_feed(tap, TAP_CLIENT, data, len);
                if (r < 0)
                        tap_degrade(tap, r);
        }
        tap_finish(tap, false, ret);
}

static void tap_release_since(Tap *tap, uint64_t since_ns, bool all, struct iovec ret[static HOLD_IOV]) {
        static const uint8_t nothing[1];

        (void) hold_begin(&tap->hold, nothing, 0);
        tapinject_ask_since(tap, since_ns);
        tap_finish(tap, all, ret);
}

void tap_release(Tap *tap, uint64_t since_ns, struct iovec ret[static HOLD_IOV]) {
        tap_release_since(tap, since_ns, false, ret);
}

void tap_release_end(Tap *tap, struct iovec ret[static HOLD_IOV]) {
        /* What is given out now in the middle of a frame cannot be changed later. */
        tap->hold_frame = false;
        tap->may_inject = tap->inject_soon = false;
        tap_release_since(tap, UINT64_MAX, true, ret);
}

void tap_tick(Tap *tap) {
        for (unsigned i = 0; tap->n_crossed > 0 && i < TAP_BUCKETS; i++)
                for (TapStream **p = &tap->buckets[i]; *p;) {
                        if ((*p)->crossed && (*p)->aged) {
                                tapstreams_end(tap, p, TAP_END_GOAWAY, NULL, 0);
                                continue;
                        }
                        (*p)->aged = (*p)->crossed;
                        p = &(*p)->next;
                }
}

void tap_request_done(Tap *tap) {
        hold_done(&tap->hold);
}

void tap_reply(Tap *tap, const uint8_t *data, size_t len) {
        int r;

        if (tap->plain)
                return;
        r = tapframe_feed(tap, TAP_RUNTIME, data, len);
        if (r < 0)
                tap_degrade(tap, r);
}
