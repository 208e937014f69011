#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tapframe.h"
#include "tapinject.h"
#include "tapstreams.h"
#include "util.h"

static int tapframe_begin_block(TapDir *dir) {
        if (!dir->headers) {
                dir->headers = malloc(sizeof(*dir->headers));
                if (!dir->headers)
                        return -ENOMEM;
        }
        tapheaders_clear(dir->headers);
        return 0;
}

static int tapframe_request_block(Tap *tap, TapDir *dir) {
        const TapHeaders *h = dir->headers;
        TapStream *stream;
        int r;

        if (!tap->block_new) {
                /* Trailers of a request. gRPC has none, HTTP/2 does. */
                stream = tapstreams_lookup(tap, dir->block_stream);
                if (stream && dir->block_end_stream && !stream->request_ended) {
                        stream->request_ended = true;
                        tap->ops->request_end(tap, stream);
                        if (stream->pending)
                                tapinject_ask(tap, stream, true);
                }
                return 0;
        }

        if (!h->method)
                return 0;
        if (tap->n_streams >= TAP_STREAMS_MAX) {
                tap->ops->unseen(tap, h);
                return 0;
        }
        r = tapstreams_make(tap);
        if (r < 0)
                return r;
        stream = tap->ops->begin(tap, dir->block_stream, h);
        if (!stream)
                return 0;
        stream->id = dir->block_stream;
        stream->request_ended = false;
        stream->pending = false;
        stream->aged = false;
        stream->crossed = tap->goaway && stream->id > tap->goaway_last;
        tapstreams_insert(tap, stream);

        if (tap->hold_frame && tapinject_undecided(tap) &&
            (uint64_t) hpackdec_list_size(&dir->hpack) + strlen(TAPHEADERS_TRACEPARENT) + TRACECONTEXT_TRACEPARENT_LEN +
                            32 <=
                    tap->max_header_list)
                tapinject_ask_new(tap, stream, dir->block_end_stream);

        if (dir->block_end_stream) {
                stream->request_ended = true;
                tap->ops->request_end(tap, stream);
        }
        return 0;
}

static void tapframe_reply_block(Tap *tap, TapDir *dir) {
        if (dir->block_end_stream)
                tapstreams_end_by_id(tap, dir->block_stream, TAP_END_TRAILERS, dir->headers, 0);
}

static int tapframe_end_block(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        int r = 0;

        if (side == TAP_CLIENT)
                r = tapframe_request_block(tap, dir);
        else if (dir->frame.type != H2FRAME_PUSH_PROMISE)
                tapframe_reply_block(tap, dir);
        if (r < 0)
                return r;

        /* The space for the next block's headers stays: it is small, and there will be one. */
        dir->block_stream = 0;
        return 0;
}

/* Whatever it was that the runtime said about this stream: it has taken it. */
static void tapframe_note_answer(Tap *tap, uint32_t id) {
        TapStream *stream = tapstreams_lookup(tap, id);

        if (stream && stream->crossed) {
                stream->crossed = false;
                tap->n_crossed--;
        }
}

static int tapframe_begin_headers(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        const H2Frame *f = &dir->frame;
        int r;

        if (f->stream == 0)
                return -EPROTO;

        if (f->type == H2FRAME_CONTINUATION) {
                if (dir->block_stream != f->stream)
                        return -EPROTO;
                dir->need_prefix = 0;
        } else {
                if (side == TAP_CLIENT) {
                        if (f->type == H2FRAME_PUSH_PROMISE || f->stream % 2 == 0)
                                return -EPROTO;
                        tap->block_new = f->stream > tap->last_stream;
                        if (tap->block_new)
                                tap->last_stream = f->stream;
                }
                r = tapframe_begin_block(dir);
                if (r < 0)
                        return r;
                dir->block_stream = f->stream;
                dir->block_end_stream = f->type == H2FRAME_HEADERS && (f->flags & H2FRAME_END_STREAM);
                dir->need_prefix =
                        (uint8_t) (((f->flags & H2FRAME_PADDED) ? 1 : 0) + (f->type == H2FRAME_PUSH_PROMISE     ? 4
                                                                            : (f->flags & H2FRAME_HAS_PRIORITY) ? 5
                                                                                                                : 0));
        }

        if (side == TAP_CLIENT)
                tap->hold_frame =
                        (f->flags & H2FRAME_END_HEADERS) && f->length <= TAP_FRAME_MAX && tapinject_undecided(tap);
        return 0;
}

static int tapframe_begin_frame(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        const H2Frame *f = &dir->frame;

        dir->left = f->length;
        dir->n_prefix = 0;
        dir->need_prefix = 0;
        dir->padding = 0;

        if (!dir->begun && f->type != H2FRAME_SETTINGS)
                return -EPROTO;
        dir->begun = true;
        if (dir->block_stream != 0 && f->type != H2FRAME_CONTINUATION)
                return -EPROTO;
        if (side == TAP_RUNTIME && tap->n_crossed > 0 && f->stream != 0)
                tapframe_note_answer(tap, f->stream);

        switch (f->type) {
        case H2FRAME_DATA:
                if (f->stream == 0)
                        return -EPROTO;
                dir->need_prefix = (f->flags & H2FRAME_PADDED) ? 1 : 0;
                break;
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
        case H2FRAME_CONTINUATION: {
                int r = tapframe_begin_headers(tap, side);

                if (r < 0)
                        return r;
                break;
        }
        case H2FRAME_RST_STREAM:
                if (f->length != 4)
                        return -EPROTO;
                dir->need_prefix = 4;
                break;
        case H2FRAME_SETTINGS:
                if (f->length % 6 != 0 || ((f->flags & H2FRAME_ACK) && f->length != 0))
                        return -EPROTO;
                if (!(f->flags & H2FRAME_ACK)) {
                        if (dir->n_settings >= TAP_SETTINGS_MAX)
                                return -E2BIG;
                        dir->setting = (TapSettings){};
                        dir->need_prefix = f->length ? 6 : 0;
                }
                break;
        case H2FRAME_GOAWAY:
                if (f->length < 8)
                        return -EPROTO;
                dir->need_prefix = 8;
                break;
        default:
                break;
        }

        if (dir->need_prefix > f->length)
                return -EPROTO;
        dir->content = f->length - dir->need_prefix;
        return 0;
}

static int tapframe_one_setting(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        TapSettings *settings = &dir->setting;
        uint16_t id = h2frame_u16(dir->prefix);
        uint32_t value = h2frame_u32(dir->prefix + 2);

        switch (id) {
        case H2FRAME_SETTINGS_HEADER_TABLE_SIZE:
                settings->min = settings->any ? MIN(settings->min, value) : value;
                settings->last = value;
                settings->any = true;
                break;
        case H2FRAME_SETTINGS_MAX_FRAME_SIZE:
                if (side == TAP_RUNTIME)
                        tap->max_frame_size = value;
                break;
        case H2FRAME_SETTINGS_MAX_HEADER_LIST_SIZE:
                if (side == TAP_RUNTIME)
                        tap->max_header_list = value;
                break;
        default:
                break;
        }
        return 0;
}

/* The prefix is whole: what stands before the content of the frame. */
static int tapframe_end_prefix(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        const H2Frame *f = &dir->frame;

        switch (f->type) {
        case H2FRAME_DATA:
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
                if (f->flags & H2FRAME_PADDED) {
                        dir->padding = dir->prefix[0];
                        if (dir->padding > dir->content)
                                return -EPROTO;
                        dir->content -= dir->padding;
                }
                return 0;
        case H2FRAME_SETTINGS:
                dir->n_prefix = dir->left > 0 ? 0 : dir->n_prefix;
                return tapframe_one_setting(tap, side);
        case H2FRAME_RST_STREAM:
                tapstreams_end_by_id(tap, f->stream,
                                     side == TAP_CLIENT ? TAP_END_RESET_BY_CLIENT : TAP_END_RESET_BY_RUNTIME, NULL,
                                     h2frame_u32(dir->prefix));
                return 0;
        case H2FRAME_GOAWAY:
                if (side == TAP_RUNTIME) {
                        uint32_t last = h2frame_u32(dir->prefix) & 0x7fffffffU;

                        tap->goaway_last = tap->goaway ? MIN(tap->goaway_last, last) : last;
                        tap->goaway = true;
                        tapstreams_end_above(tap, last, TAP_END_GOAWAY);
                }
                return 0;
        default:
                return 0;
        }
}

/* A header block, or a part of it, the last one if @whole. */
static int tapframe_fragment(TapDir *dir, const uint8_t *data, size_t len, bool whole) {
        uint32_t list_size;
        int r;

        whole = whole && dir->frame.type == H2FRAME_HEADERS && blockcache_fits(data, len);
        if (!whole) {
                blockcache_clear(&dir->cache);
                return hpackdec_fragment(&dir->hpack, data, len, false, tapheaders_field, dir->headers);
        }

        if (blockcache_find(&dir->cache, data, len, dir->headers, &list_size)) {
                hpackdec_skipped(&dir->hpack, list_size);
                dir->block_decoded = true;
                return 0;
        }
        r = hpackdec_fragment(&dir->hpack, data, len, true, tapheaders_field, dir->headers);
        if (r < 0)
                return r;
        dir->block_decoded = true;
        blockcache_put(&dir->cache, data, len, dir->headers, hpackdec_list_size(&dir->hpack));
        return 0;
}

static int tapframe_content(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
        TapDir *dir = &tap->dir[side];
        TapStream *stream;
        int r;

        switch (dir->frame.type) {
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
        case H2FRAME_CONTINUATION:
                r = tapframe_fragment(dir, data, len,
                                      (dir->frame.flags & H2FRAME_END_HEADERS) && len == dir->content &&
                                              hpackdec_at_start(&dir->hpack));
                if (r < 0)
                        return r;
                if (side == TAP_CLIENT && tap->hold_frame)
                        tap->hold_frame = tapinject_undecided(tap);
                return 0;
        case H2FRAME_DATA:
                stream = tapstreams_lookup(tap, dir->frame.stream);
                if (!stream)
                        return 0;
                if (side == TAP_RUNTIME) {
                        if (stream->want_reply)
                                tap->ops->reply_data(tap, stream, data, len);
                } else if (stream->want_request) {
                        tap->ops->request_data(tap, stream, data, len);
                        if (stream->pending)
                                tapinject_ask(tap, stream, false);
                }
                return 0;
        default:
                return 0;
        }
}

static int tapframe_end_frame(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side], *other = &tap->dir[!side];
        const H2Frame *f = &dir->frame;
        TapStream *stream;
        int r = 0;

        switch (f->type) {
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
        case H2FRAME_CONTINUATION:
                if (!(f->flags & H2FRAME_END_HEADERS))
                        break;
                if (!dir->block_decoded) {
                        r = hpackdec_fragment(&dir->hpack, NULL, 0, true, tapheaders_field, dir->headers);
                        if (r < 0)
                                return r;
                }
                dir->block_decoded = false;
                r = tapframe_end_block(tap, side);
                break;
        case H2FRAME_DATA:
                if (!(f->flags & H2FRAME_END_STREAM))
                        break;
                if (side == TAP_RUNTIME) {
                        tapstreams_end_by_id(tap, f->stream, TAP_END_TRAILERS, NULL, 0);
                        break;
                }
                stream = tapstreams_lookup(tap, f->stream);
                if (stream && !stream->request_ended) {
                        stream->request_ended = true;
                        tap->ops->request_end(tap, stream);
                        if (stream->pending)
                                tapinject_ask(tap, stream, true);
                }
                break;
        case H2FRAME_SETTINGS:
                /* Only now can it be acknowledged. */
                if (!(f->flags & H2FRAME_ACK)) {
                        dir->settings[dir->n_settings++] = dir->setting;
                        break;
                }
                /* The sender of this ACK encodes with what the other side's oldest SETTINGS said from now on. */
                if (other->n_settings == 0)
                        return -EPROTO;
                if (other->settings[0].any) {
                        blockcache_clear(&dir->cache);
                        r = hpackdec_table_size(&dir->hpack, other->settings[0].min);
                        if (r == 0 && other->settings[0].last != other->settings[0].min)
                                r = hpackdec_table_size(&dir->hpack, other->settings[0].last);
                }
                other->n_settings--;
                memmove(other->settings, other->settings + 1, other->n_settings * sizeof(*other->settings));
                break;
        default:
                break;
        }

        if (side == TAP_CLIENT)
                tap->hold_frame = false;
        return r;
}

static int tapframe_payload(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
        TapDir *dir = &tap->dir[side];
        int r;

        while (len > 0) {
                size_t n;

                if (dir->n_prefix < dir->need_prefix) {
                        n = MIN(len, (size_t) (dir->need_prefix - dir->n_prefix));
                        memcpy(dir->prefix + dir->n_prefix, data, n);
                        dir->n_prefix = (uint8_t) (dir->n_prefix + n);
                        dir->left -= (uint32_t) n;
                        if (dir->n_prefix == dir->need_prefix) {
                                r = tapframe_end_prefix(tap, side);
                                if (r < 0)
                                        return r;
                        }
                } else if (dir->content > 0) {
                        n = MIN(len, (size_t) dir->content);
                        r = tapframe_content(tap, side, data, n);
                        if (r < 0)
                                return r;
                        dir->content -= (uint32_t) n;
                        dir->left -= (uint32_t) n;
                } else {
                        n = MIN(len, (size_t) dir->left);
                        dir->left -= (uint32_t) n;
                }
                data += n;
                len -= n;
        }
        return 0;
}

static int tapframe_preface(Tap *tap, const uint8_t *data, size_t len, size_t *ret_n) {
        size_t n = MIN(len, (size_t) (H2FRAME_PREFACE_LEN - tap->n_preface));
        int r;

        if (n > 0 && memcmp(data, &H2FRAME_PREFACE[tap->n_preface], n) != 0)
                return -EPROTO;
        tap->n_preface = (uint8_t) (tap->n_preface + n);
        *ret_n = n;

        if (tap->n_preface < H2FRAME_PREFACE_LEN)
                return 0;

        /* A connection that is not HTTP/2 needs no decoders; one that is has no header block before the preface. */
        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++)
                if (!tap->dir[i].hpack.inflater) {
                        r = hpackdec_init(&tap->dir[i].hpack);
                        if (r < 0)
                                return r;
                }
        return 0;
}

int tapframe_feed(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
        TapDir *dir = &tap->dir[side];
        size_t pos = 0;
        int r;

        if (side == TAP_CLIENT && tap->n_preface < H2FRAME_PREFACE_LEN) {
                r = tapframe_preface(tap, data, len, &pos);
                if (r < 0)
                        return r;
        }
        while (pos < len) {
                size_t n;

                if (!dir->in_frame) {
                        pos += h2frame_read(&dir->reader, data + pos, len - pos, &dir->frame, &dir->in_frame);
                        if (!dir->in_frame)
                                break;
                        /* What there was of the header before this chunk has been kept back. */
                        if (side == TAP_CLIENT)
                                tap->frame_off = hold_offset(&tap->hold, pos) - H2FRAME_HEADER_SIZE;
                        r = tapframe_begin_frame(tap, side);
                        if (r < 0)
                                return r;
                }

                n = MIN(len - pos, (size_t) dir->left);
                r = tapframe_payload(tap, side, data + pos, n);
                if (r < 0)
                        return r;
                pos += n;

                if (dir->left == 0) {
                        r = tapframe_end_frame(tap, side);
                        if (r < 0)
                                return r;
                        dir->in_frame = false;
                }
        }
        return 0;
}
