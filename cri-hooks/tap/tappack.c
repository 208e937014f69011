#include <errno.h>
#include <string.h>
#include "tappack.h"

typedef struct WriteCalls {
        Pack *pack;
        void (*write_call)(const TapStream *stream, Pack *pack);
} WriteCalls;

bool tappack_ready(const Tap *tap) {
        if (tap->plain)
                return true;
        return tap->n_pending == 0 && tap->dir[TAP_CLIENT].block_stream == 0 && tap->dir[TAP_RUNTIME].block_stream == 0;
}

static void write_settings(const TapSettings *settings, Pack *pack) {
        pack_number(pack, settings->min);
        pack_number(pack, settings->last);
        pack_number(pack, settings->any);
}

static void write_dir(const TapDir *dir, Pack *pack) {
        pack_number(pack, dir->begun);
        pack_bytes(pack, dir->reader.head, dir->reader.n);
        pack_number(pack, dir->in_frame);
        if (dir->in_frame) {
                pack_number(pack, dir->frame.length);
                pack_number(pack, dir->frame.type);
                pack_number(pack, dir->frame.flags);
                pack_number(pack, dir->frame.stream);
                pack_number(pack, dir->left);
                /* Of SETTINGS it is not counted. */
                pack_number(pack, MIN(dir->content, dir->left));
                pack_number(pack, dir->padding);
                pack_number(pack, dir->need_prefix);
                pack_bytes(pack, dir->prefix, dir->n_prefix);
                write_settings(&dir->setting, pack);
        }
        pack_number(pack, dir->n_settings);
        for (unsigned i = 0; i < dir->n_settings; i++)
                write_settings(&dir->settings[i], pack);
        pack_number(pack, dir->hpack.inflater != NULL);
        if (dir->hpack.inflater)
                hpackdec_pack(&dir->hpack, pack);
}

static void write_call(TapStream *stream, void *userdata) {
        const WriteCalls *calls = userdata;

        pack_number(calls->pack, stream->id);
        pack_number(calls->pack, stream->want_request);
        pack_number(calls->pack, stream->want_reply);
        pack_number(calls->pack, stream->request_ended);
        pack_number(calls->pack, stream->crossed);
        calls->write_call(stream, calls->pack);
}

void tappack_write(const Tap *tap, Pack *pack, void (*fn)(const TapStream *stream, Pack *pack)) {
        pack_number(pack, tap->may_inject);
        pack_number(pack, tap->n_preface);
        pack_number(pack, tap->last_stream);
        pack_number(pack, tap->goaway);
        pack_number(pack, tap->goaway_last);
        pack_number(pack, tap->max_frame_size);
        pack_number(pack, tap->max_header_list);
        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++)
                write_dir(&tap->dir[i], pack);
        pack_number(pack, tap->n_streams);
        tap_each(tap, write_call, &(WriteCalls){ .pack = pack, .write_call = fn });
}

static void read_settings(Unpack *unpack, TapSettings *ret) {
        ret->min = (uint32_t) unpack_number(unpack, UINT32_MAX);
        ret->last = (uint32_t) unpack_number(unpack, UINT32_MAX);
        ret->any = unpack_bool(unpack);
}

/* A frame under way: nothing that its reader takes for granted may be otherwise. */
static void read_frame(TapDir *dir, Unpack *unpack) {
        H2Frame *f = &dir->frame;
        const uint8_t *prefix;
        size_t n;

        f->length = (uint32_t) unpack_number(unpack, H2FRAME_MAX_LENGTH);
        f->type = (uint8_t) unpack_number(unpack, UINT8_MAX);
        f->flags = (uint8_t) unpack_number(unpack, UINT8_MAX);
        f->stream = (uint32_t) unpack_number(unpack, 0x7fffffff);
        dir->left = (uint32_t) unpack_number(unpack, f->length);
        dir->content = (uint32_t) unpack_number(unpack, dir->left);
        dir->padding = (uint8_t) unpack_number(unpack, UINT8_MAX);
        dir->need_prefix = (uint8_t) unpack_number(unpack, sizeof(dir->prefix));
        prefix = unpack_bytes(unpack, dir->need_prefix, &n);
        memcpy(dir->prefix, prefix, n);
        dir->n_prefix = (uint8_t) n;
        read_settings(unpack, &dir->setting);

        if (dir->left == 0 || f->type == H2FRAME_HEADERS || f->type == H2FRAME_PUSH_PROMISE ||
            f->type == H2FRAME_CONTINUATION)
                (void) unpack_fail(unpack);
}

static int read_dir(TapDir *dir, Unpack *unpack) {
        const uint8_t *head;
        size_t n;

        dir->begun = unpack_bool(unpack);
        head = unpack_bytes(unpack, H2FRAME_HEADER_SIZE - 1, &n);
        memcpy(dir->reader.head, head, n);
        dir->reader.n = (uint8_t) n;
        dir->in_frame = unpack_bool(unpack);
        if (dir->in_frame)
                read_frame(dir, unpack);
        dir->n_settings = (uint8_t) unpack_number(unpack, TAP_SETTINGS_MAX);
        for (unsigned i = 0; i < dir->n_settings; i++)
                read_settings(unpack, &dir->settings[i]);

        if (dir->in_frame &&
            (n > 0 || !dir->begun || (dir->frame.type == H2FRAME_SETTINGS && dir->n_settings == TAP_SETTINGS_MAX)))
                return unpack_fail(unpack);
        if (!unpack_bool(unpack))
                return unpack_result(unpack);
        return hpackdec_unpack(unpack, &dir->hpack);
}

int tappack_read(Tap *tap, Unpack *unpack, const uint8_t *held, size_t n_held,
                 TapStream *(*read_call)(Tap *tap, Unpack *unpack)) {
        const H2FrameReader *reader = &tap->dir[TAP_CLIENT].reader;
        size_t n_calls;
        int r;

        tap->may_inject = unpack_bool(unpack);
        tap->n_preface = (uint8_t) unpack_number(unpack, H2FRAME_PREFACE_LEN);
        tap->last_stream = (uint32_t) unpack_number(unpack, 0x7fffffff);
        tap->goaway = unpack_bool(unpack);
        tap->goaway_last = (uint32_t) unpack_number(unpack, 0x7fffffff);
        tap->max_frame_size = (uint32_t) unpack_number(unpack, UINT32_MAX);
        tap->max_header_list = (uint32_t) unpack_number(unpack, UINT32_MAX);
        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++) {
                r = read_dir(&tap->dir[i], unpack);
                if (r < 0)
                        return r;
                if (!tap->dir[i].hpack.inflater != (tap->n_preface < H2FRAME_PREFACE_LEN))
                        return unpack_fail(unpack);
        }

        /* Offsets are counted back from the end of a header to its beginning. */
        if (n_held != 0 && (n_held != reader->n || memcmp(held, reader->head, n_held) != 0))
                return unpack_fail(unpack);
        if (tap->may_inject && n_held == 0 && reader->n > 0 &&
            (reader->n < 4 || reader->head[3] == H2FRAME_HEADERS || reader->head[3] == H2FRAME_CONTINUATION))
                return unpack_fail(unpack);
        r = hold_restore(&tap->hold, held, n_held);
        if (r < 0)
                return r;

        n_calls = unpack_number(unpack, TAP_STREAMS_MAX);
        for (size_t i = 0; i < n_calls; i++) {
                TapStream head = {};
                TapStream *stream;

                head.id = (uint32_t) unpack_number(unpack, 0x7fffffff);
                head.want_request = unpack_bool(unpack);
                head.want_reply = unpack_bool(unpack);
                head.request_ended = unpack_bool(unpack);
                head.crossed = unpack_bool(unpack);
                stream = unpack->failed || head.id % 2 == 0 ? NULL : read_call(tap, unpack);
                if (!stream)
                        return unpack->failed ? unpack_result(unpack) : unpack_fail(unpack);
                *stream = head;
                r = tap_adopt(tap, stream);
                if (r < 0) {
                        tap->ops->end(tap, stream, TAP_END_UNTRACKED, NULL, 0);
                        return r == -EEXIST ? unpack_fail(unpack) : r;
                }
        }
        return unpack_result(unpack);
}
