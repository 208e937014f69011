#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "h2append.h"
#include "tap.h"
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

static TapStream **find(Tap *tap, uint32_t id) {
        TapStream **p;

        if (!tap->buckets)
                return NULL;
        for (p = &tap->buckets[(id >> 1) % TAP_BUCKETS]; *p; p = &(*p)->next)
                if ((*p)->id == id)
                        return p;
        return NULL;
}

static TapStream *lookup(Tap *tap, uint32_t id) {
        TapStream **p = find(tap, id);

        return p ? *p : NULL;
}

static int make_buckets(Tap *tap) {
        if (!tap->buckets)
                tap->buckets = calloc(TAP_BUCKETS, sizeof(*tap->buckets));
        return tap->buckets ? 0 : -ENOMEM;
}

static void insert(Tap *tap, TapStream *stream) {
        TapStream **bucket = &tap->buckets[(stream->id >> 1) % TAP_BUCKETS];

        stream->next = *bucket;
        *bucket = stream;
        tap->n_streams++;
        tap->n_crossed += stream->crossed;
}

static void forget_pending(Tap *tap, const TapStream *stream) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].stream == stream) {
                        memmove(tap->pending + i, tap->pending + i + 1,
                                (tap->n_pending - i - 1) * sizeof(*tap->pending));
                        tap->n_pending--;
                        return;
                }
}

static void end_stream(Tap *tap, TapStream **p, TapEnd how, const TapHeaders *headers, uint32_t error) {
        TapStream *stream = *p;

        *p = stream->next;
        tap->n_streams--;
        if (stream->pending)
                forget_pending(tap, stream);
        if (stream->crossed)
                tap->n_crossed--;
        tap->ops->end(tap, stream, how, headers, error);
}

static void end_by_id(Tap *tap, uint32_t id, TapEnd how, const TapHeaders *headers, uint32_t error) {
        TapStream **p = find(tap, id);

        if (p)
                end_stream(tap, p, how, headers, error);
}

/* Ends the calls with an id above @last. */
static void end_above(Tap *tap, uint32_t last, TapEnd how) {
        for (unsigned i = 0; tap->buckets && i < TAP_BUCKETS; i++)
                for (TapStream **p = &tap->buckets[i]; *p;)
                        if ((*p)->id > last)
                                end_stream(tap, p, how, NULL, 0);
                        else
                                p = &(*p)->next;
}

static void release_memory(Tap *tap, TapEnd how) {
        end_above(tap, 0, how);
        tap->buckets = (free(tap->buckets), NULL);
        tap->pending = (free(tap->pending), NULL);
        for (unsigned i = 0; i < _TAP_SIDE_MAX; i++) {
                hpackdec_deinit(&tap->dir[i].hpack);
                tap->dir[i].headers = (free(tap->dir[i].headers), NULL);
        }
}

void tap_deinit(Tap *tap, TapEnd how) {
        release_memory(tap, how);
        hold_deinit(&tap->hold);
}

void tap_degrade(Tap *tap, int error) {
        if (tap->plain)
                return;
        tap->plain = true;
        tap->hold_frame = false;
        release_memory(tap, TAP_END_UNTRACKED);
        tap->ops->plain(tap, error);
}

static int begin_block(TapDir *dir) {
        if (!dir->headers) {
                dir->headers = malloc(sizeof(*dir->headers));
                if (!dir->headers)
                        return -ENOMEM;
        }
        tapheaders_clear(dir->headers);
        return 0;
}

/* Appending */

static void shift_offsets(Tap *tap, size_t from, size_t n) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].off > from)
                        tap->pending[i].off += n;
        if (tap->hold_frame && tap->frame_off > from)
                tap->frame_off += n;
}

static int append_field(Tap *tap, TapStream *stream, const H2Frame *frame, uint8_t padding, size_t off,
                        const char *traceparent) {
        H2Append plan;
        int r;

        r = h2append_plan(frame, padding, tap->max_frame_size, TAPHEADERS_TRACEPARENT, traceparent, &plan);
        if (r < 0)
                return r;
        r = hold_insert(&tap->hold, off, plan.head, sizeof(plan.head), plan.at, plan.bytes, plan.size);
        if (r < 0)
                return r;
        shift_offsets(tap, off, plan.size);
        tap->ops->injected(tap, stream);
        return 0;
}

/* Asks about the @i-th pending call. */
static void ask_pending(Tap *tap, unsigned i, bool final) {
        TapPending pending = tap->pending[i];
        char traceparent[TRACECONTEXT_TRACEPARENT_LEN + 1];
        TapInject inject;

        inject = tap->ops->inject(tap, pending.stream, final, traceparent);
        if (inject == TAP_INJECT_WAIT && !final)
                return;

        pending.stream->pending = false;
        memmove(tap->pending + i, tap->pending + i + 1, (tap->n_pending - i - 1) * sizeof(*tap->pending));
        tap->n_pending--;
        if (inject == TAP_INJECT_YES)
                (void) append_field(tap, pending.stream, &pending.frame, pending.padding, pending.off, traceparent);
}

static void ask_stream(Tap *tap, const TapStream *stream, bool final) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].stream == stream) {
                        ask_pending(tap, i, final);
                        return;
                }
}

/* Those that wait since @since_ns or longer; the first has waited longest. */
static void ask_since(Tap *tap, uint64_t since_ns) {
        while (tap->n_pending > 0 && tap->pending[0].since_ns <= since_ns)
                ask_pending(tap, 0, true);
}

/* The frame that ends a new stream's header block is whole and kept back: does it get a field? */
static void ask_new(Tap *tap, TapStream *stream, bool final) {
        TapDir *dir = &tap->dir[TAP_CLIENT];
        char traceparent[TRACECONTEXT_TRACEPARENT_LEN + 1];
        TapInject inject;

        if (!tap->pending && !final) {
                tap->pending = malloc(TAP_PENDING_MAX * sizeof(*tap->pending));
                if (!tap->pending)
                        final = true;
        }
        if (tap->n_pending >= TAP_PENDING_MAX)
                final = true;

        inject = tap->ops->inject(tap, stream, final, traceparent);
        if (inject == TAP_INJECT_WAIT && !final) {
                tap->pending[tap->n_pending++] = (TapPending){
                        .stream = stream,
                        .since_ns = tap->now_ns,
                        .off = tap->frame_off,
                        .frame = dir->frame,
                        .padding = dir->padding,
                };
                stream->pending = true;
        } else if (inject == TAP_INJECT_YES)
                (void) append_field(tap, stream, &dir->frame, dir->padding, tap->frame_off, traceparent);
}

/* May the open block still get a field? */
static bool undecided(const Tap *tap) {
        const TapHeaders *h = tap->dir[TAP_CLIENT].headers;

        return tap->may_inject && tap->block_new && h->n_traceparent == 0 &&
               (!h->method || h->method->class == METHOD_MUTATING);
}

/* Header blocks */

static int request_block(Tap *tap, TapDir *dir) {
        const TapHeaders *h = dir->headers;
        TapStream *stream;
        int r;

        if (!tap->block_new) {
                /* Trailers of a request. gRPC has none, HTTP/2 does. */
                stream = lookup(tap, dir->block_stream);
                if (stream && dir->block_end_stream && !stream->request_ended) {
                        stream->request_ended = true;
                        tap->ops->request_end(tap, stream);
                        if (stream->pending)
                                ask_stream(tap, stream, true);
                }
                return 0;
        }

        if (!h->method)
                return 0;
        if (tap->n_streams >= TAP_STREAMS_MAX) {
                tap->ops->unseen(tap, h);
                return 0;
        }
        r = make_buckets(tap);
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
        insert(tap, stream);

        if (tap->hold_frame && undecided(tap) &&
            (uint64_t) hpackdec_list_size(&dir->hpack) + strlen(TAPHEADERS_TRACEPARENT) + TRACECONTEXT_TRACEPARENT_LEN +
                            32 <=
                    tap->max_header_list)
                ask_new(tap, stream, dir->block_end_stream);

        if (dir->block_end_stream) {
                stream->request_ended = true;
                tap->ops->request_end(tap, stream);
        }
        return 0;
}

static void reply_block(Tap *tap, TapDir *dir) {
        if (dir->block_end_stream)
                end_by_id(tap, dir->block_stream, TAP_END_TRAILERS, dir->headers, 0);
}

static int end_block(Tap *tap, TapSide side) {
        TapDir *dir = &tap->dir[side];
        int r = 0;

        if (side == TAP_CLIENT)
                r = request_block(tap, dir);
        else if (dir->frame.type != H2FRAME_PUSH_PROMISE)
                reply_block(tap, dir);
        if (r < 0)
                return r;

        /* The space for the next block's headers stays: it is small, and there will be one. */
        dir->block_stream = 0;
        return 0;
}

/* Taking over */

void tap_set_inject(Tap *tap, bool may_inject) {
        /* The beginning of a frame header was only kept back where fields might be appended. */
        tap->inject_soon = may_inject && !tap->may_inject && tap->dir[TAP_CLIENT].reader.n > 0;
        tap->may_inject = may_inject && !tap->inject_soon;
}

int tap_adopt(Tap *tap, TapStream *stream) {
        int r;

        if (tap->n_streams >= TAP_STREAMS_MAX || stream->id == 0 || lookup(tap, stream->id))
                return -EEXIST;
        r = make_buckets(tap);
        if (r == 0)
                insert(tap, stream);
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

/* Frames */

/* Whatever it was that the runtime said about this stream: it has taken it. */
static void note_answer(Tap *tap, uint32_t id) {
        TapStream *stream = lookup(tap, id);

        if (stream && stream->crossed) {
                stream->crossed = false;
                tap->n_crossed--;
        }
}

static int begin_headers(Tap *tap, TapSide side) {
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
                r = begin_block(dir);
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
                tap->hold_frame = (f->flags & H2FRAME_END_HEADERS) && f->length <= TAP_FRAME_MAX && undecided(tap);
        return 0;
}

static int begin_frame(Tap *tap, TapSide side) {
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
                note_answer(tap, f->stream);

        switch (f->type) {
        case H2FRAME_DATA:
                if (f->stream == 0)
                        return -EPROTO;
                dir->need_prefix = (f->flags & H2FRAME_PADDED) ? 1 : 0;
                break;
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
        case H2FRAME_CONTINUATION: {
                int r = begin_headers(tap, side);

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

static int one_setting(Tap *tap, TapSide side) {
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
static int end_prefix(Tap *tap, TapSide side) {
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
                return one_setting(tap, side);
        case H2FRAME_RST_STREAM:
                end_by_id(tap, f->stream, side == TAP_CLIENT ? TAP_END_RESET_BY_CLIENT : TAP_END_RESET_BY_RUNTIME, NULL,
                          h2frame_u32(dir->prefix));
                return 0;
        case H2FRAME_GOAWAY:
                if (side == TAP_RUNTIME) {
                        uint32_t last = h2frame_u32(dir->prefix) & 0x7fffffffU;

                        tap->goaway_last = tap->goaway ? MIN(tap->goaway_last, last) : last;
                        tap->goaway = true;
                        end_above(tap, last, TAP_END_GOAWAY);
                }
                return 0;
        default:
                return 0;
        }
}

/* A header block, or a part of it, the last one if @whole. */
static int fragment(TapDir *dir, const uint8_t *data, size_t len, bool whole) {
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

static int content(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
        TapDir *dir = &tap->dir[side];
        TapStream *stream;
        int r;

        switch (dir->frame.type) {
        case H2FRAME_HEADERS:
        case H2FRAME_PUSH_PROMISE:
        case H2FRAME_CONTINUATION:
                r = fragment(dir, data, len,
                             (dir->frame.flags & H2FRAME_END_HEADERS) && len == dir->content &&
                                     hpackdec_at_start(&dir->hpack));
                if (r < 0)
                        return r;
                if (side == TAP_CLIENT && tap->hold_frame)
                        tap->hold_frame = undecided(tap);
                return 0;
        case H2FRAME_DATA:
                stream = lookup(tap, dir->frame.stream);
                if (!stream)
                        return 0;
                if (side == TAP_RUNTIME) {
                        if (stream->want_reply)
                                tap->ops->reply_data(tap, stream, data, len);
                } else if (stream->want_request) {
                        tap->ops->request_data(tap, stream, data, len);
                        if (stream->pending)
                                ask_stream(tap, stream, false);
                }
                return 0;
        default:
                return 0;
        }
}

static int end_frame(Tap *tap, TapSide side) {
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
                r = end_block(tap, side);
                break;
        case H2FRAME_DATA:
                if (!(f->flags & H2FRAME_END_STREAM))
                        break;
                if (side == TAP_RUNTIME) {
                        end_by_id(tap, f->stream, TAP_END_TRAILERS, NULL, 0);
                        break;
                }
                stream = lookup(tap, f->stream);
                if (stream && !stream->request_ended) {
                        stream->request_ended = true;
                        tap->ops->request_end(tap, stream);
                        if (stream->pending)
                                ask_stream(tap, stream, true);
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

static int payload(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
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
                                r = end_prefix(tap, side);
                                if (r < 0)
                                        return r;
                        }
                } else if (dir->content > 0) {
                        n = MIN(len, (size_t) dir->content);
                        r = content(tap, side, data, n);
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

static int preface(Tap *tap, const uint8_t *data, size_t len, size_t *ret_n) {
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

static int feed(Tap *tap, TapSide side, const uint8_t *data, size_t len) {
        TapDir *dir = &tap->dir[side];
        size_t pos = 0;
        int r;

        if (side == TAP_CLIENT && tap->n_preface < H2FRAME_PREFACE_LEN) {
                r = preface(tap, data, len, &pos);
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
                        r = begin_frame(tap, side);
                        if (r < 0)
                                return r;
                }

                n = MIN(len - pos, (size_t) dir->left);
                r = payload(tap, side, data + pos, n);
                if (r < 0)
                        return r;
                pos += n;

                if (dir->left == 0) {
                        r = end_frame(tap, side);
                        if (r < 0)
                                return r;
                        dir->in_frame = false;
                }
        }
        return 0;
}

static void finish(Tap *tap, bool all, struct iovec ret[static HOLD_IOV]) {
        TapDir *dir = &tap->dir[TAP_CLIENT];
        size_t total, from;

        if (tap->n_pending > 0 && (all || hold_offset(&tap->hold, tap->hold.in_len) > TAP_HELD_MAX))
                ask_since(tap, UINT64_MAX);

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
                        r = feed(tap, TAP_CLIENT, data, len);
                if (r < 0)
                        tap_degrade(tap, r);
        }
        finish(tap, false, ret);
}

static void release(Tap *tap, uint64_t since_ns, bool all, struct iovec ret[static HOLD_IOV]) {
        static const uint8_t nothing[1];

        (void) hold_begin(&tap->hold, nothing, 0);
        ask_since(tap, since_ns);
        finish(tap, all, ret);
}

void tap_release(Tap *tap, uint64_t since_ns, struct iovec ret[static HOLD_IOV]) {
        release(tap, since_ns, false, ret);
}

void tap_release_end(Tap *tap, struct iovec ret[static HOLD_IOV]) {
        /* What is given out now in the middle of a frame cannot be changed later. */
        tap->hold_frame = false;
        tap->may_inject = tap->inject_soon = false;
        release(tap, UINT64_MAX, true, ret);
}

void tap_tick(Tap *tap) {
        for (unsigned i = 0; tap->n_crossed > 0 && i < TAP_BUCKETS; i++)
                for (TapStream **p = &tap->buckets[i]; *p;) {
                        if ((*p)->crossed && (*p)->aged) {
                                end_stream(tap, p, TAP_END_GOAWAY, NULL, 0);
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
        r = feed(tap, TAP_RUNTIME, data, len);
        if (r < 0)
                tap_degrade(tap, r);
}
