#pragma once

/*
 * The tap of one connection
 *
 * Both directions of an HTTP/2 connection go through here: bytes in, the same bytes out, and events for the calls that
 * were seen in a copy. The only change it can make is one header field appended to a request's first header block. Any
 * surprise (no HTTP/2, a decoding error, a limit, no memory) makes the rest of the connection plain forwarding: the
 * bytes go on as they are, the events end. No I/O, so nothing here knows a socket.
 */

#include "blockcache.h"
#include "h2frame.h"
#include "hold.h"
#include "hpackdec.h"
#include "tapheaders.h"

#define TAP_STREAMS_MAX  1024U         /* calls followed at a time; more are forwarded unseen */
#define TAP_SETTINGS_MAX 16            /* SETTINGS frames that wait for their ACK */
#define TAP_FRAME_MAX    (64U * 1024)  /* a header frame larger than this is never kept back */
#define TAP_HELD_MAX     (256U * 1024) /* bytes kept back in all; above, calls are decided with what is known */
#define TAP_PENDING_MAX  64            /* calls that wait for their identity */
#define TAP_BUCKETS      64

typedef struct Tap Tap;

typedef enum TapSide {
        TAP_CLIENT, /* what comes from the client */
        TAP_RUNTIME,
        _TAP_SIDE_MAX,
} TapSide;

/* A call as the tap sees it; embedded in its owner's. */
typedef struct TapStream TapStream;
struct TapStream {
        TapStream *next;
        uint32_t id;
        bool want_request; /* to be set by the owner: */
        bool want_reply;   /* it wants the DATA */
        bool request_ended;
        bool pending; /* its header block is kept back */
        bool crossed; /* began above the last id of a GOAWAY, and the runtime has said nothing about it since */
        bool aged;    /* as long ago as the last tap_tick() */
};

typedef enum TapEnd {
        TAP_END_TRAILERS, /* the reply's last frame */
        TAP_END_RESET_BY_CLIENT,
        TAP_END_RESET_BY_RUNTIME,
        TAP_END_GOAWAY,            /* above GOAWAY's last stream id */
        TAP_END_CONNECTION_CLIENT, /* the connection ended, from the client's side */
        TAP_END_CONNECTION_RUNTIME,
        TAP_END_SHUTDOWN,  /* podspan-cri ended */
        TAP_END_UNTRACKED, /* the connection became plain forwarding: how the call ends is not seen */
        TAP_END_CRASH,     /* the podspan-cri that followed it died; no tap says this */
} TapEnd;

typedef enum TapInject {
        TAP_INJECT_NO,
        TAP_INJECT_YES,
        TAP_INJECT_WAIT, /* not known yet */
} TapInject;

typedef struct TapOps {
        /* A request's first header block is whole. Returns its call, or NULL if it is not to be followed. */
        TapStream *(*begin)(Tap *tap, uint32_t id, const TapHeaders *headers);
        /* There are TAP_STREAMS_MAX already: this call is not followed. */
        void (*unseen)(Tap *tap, const TapHeaders *headers);
        /*
         * Is a traceparent to be appended to this call of a mutating method without one? Asked after begin() and,
         * while the answer is WAIT, after each of its DATA; with @final the answer cannot wait any longer. @ret is
         * written with YES. Afterwards injected() tells whether the field went in.
         */
        TapInject (*inject)(Tap *tap, TapStream *stream, bool final, char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]);
        void (*injected)(Tap *tap, TapStream *stream);
        void (*request_data)(Tap *tap, TapStream *stream, const uint8_t *data, size_t len);
        /* The request is complete; its last byte has not been given out yet. */
        void (*request_end)(Tap *tap, TapStream *stream);
        void (*reply_data)(Tap *tap, TapStream *stream, const uint8_t *data, size_t len);
        /*
         * The call is over; @headers are the trailers with TAP_END_TRAILERS (NULL if the reply ended without), @error
         * the HTTP/2 code of a reset. The stream is the owner's to free.
         */
        void (*end)(Tap *tap, TapStream *stream, TapEnd how, const TapHeaders *headers, uint32_t error);
        /* From now on plain forwarding, because of @error (-EPROTO: no HTTP/2 or not as it should be; -E2BIG: a limit
         * …). */
        void (*plain)(Tap *tap, int error);
} TapOps;

typedef struct TapSettings {
        uint32_t min; /* smallest and last HEADER_TABLE_SIZE in one frame */
        uint32_t last;
        bool any;
} TapSettings;

typedef struct TapPending {
        TapStream *stream;
        uint64_t since_ns; /* when it began to wait */
        size_t off;        /* of the frame in the held bytes */
        H2Frame frame;
        uint8_t padding;
} TapPending;

typedef struct TapDir {
        H2FrameReader reader;
        H2Frame frame;
        uint32_t left;     /* of the frame's payload */
        uint32_t content;  /* of it before the padding */
        uint8_t prefix[8]; /* pad length and priority, or a short frame's payload */
        uint8_t n_prefix;
        uint8_t need_prefix;
        uint8_t padding;
        bool in_frame;
        bool begun; /* a SETTINGS frame was the first */
        bool block_end_stream;
        bool block_decoded;    /* the open block is whole already */
        uint32_t block_stream; /* 0: no header block is open */
        TapHeaders *headers;   /* of the open block */
        HpackDec hpack;
        BlockCache cache;
        TapSettings setting;                    /* of the SETTINGS frame being read */
        TapSettings settings[TAP_SETTINGS_MAX]; /* sent, not yet acknowledged by the other side */
        uint8_t n_settings;
} TapDir;

struct Tap {
        const TapOps *ops;
        void *userdata;
        TapDir dir[_TAP_SIDE_MAX];
        TapStream **buckets;
        uint32_t n_streams;
        uint32_t last_stream; /* highest id the client opened */
        uint32_t goaway_last; /* the lowest last id of a GOAWAY, if there was one */
        uint32_t n_crossed;
        uint32_t max_frame_size; /* what the runtime takes */
        uint32_t max_header_list;
        uint8_t n_preface; /* bytes of the preface seen */
        uint64_t now_ns;   /* monotonic; set by the owner before tap_request() */
        bool plain;
        bool goaway;
        bool may_inject;
        bool inject_soon; /* may_inject from the next frame header on */
        bool block_new;   /* the client's open block begins a stream */
        bool hold_frame;  /* the client's current frame is kept back */
        size_t frame_off; /* where it begins */
        Hold hold;
        TapPending *pending;
        unsigned n_pending;
};

/* @may_inject: keep header blocks back where a field may have to be appended. */
void tap_init(Tap *tap, const TapOps *ops, void *userdata, bool may_inject);
/* Ends all calls as @how. */
void tap_deinit(Tap *tap, TapEnd how);

/*
 * The next @len bytes from the client; @ret is what goes to the runtime now, valid until tap_request_done(). Never
 * fails.
 */
void tap_request(Tap *tap, const uint8_t *data, size_t len, struct iovec ret[static HOLD_IOV]);
/*
 * Decides the calls that have waited for their identity since @since_ns or longer (UINT64_MAX: all of them), and gives
 * out what need not be kept back any more. As tap_request() with no bytes.
 */
void tap_release(Tap *tap, uint64_t since_ns, struct iovec ret[static HOLD_IOV]);
/* The client sends no more: gives out whatever is kept back. */
void tap_release_end(Tap *tap, struct iovec ret[static HOLD_IOV]);
void tap_request_done(Tap *tap);

/* The next @len bytes from the runtime, which go on as they are. */
void tap_reply(Tap *tap, const uint8_t *data, size_t len);

/*
 * To be called now and then, at intervals longer than a runtime needs to begin an answer. A call that crossed a GOAWAY
 * on its way is followed, as the runtime may answer it all the same; if it has said nothing about it between two ticks,
 * it has not taken it (RFC 9113, 6.8), and the client has made the call elsewhere: it ends as TAP_END_GOAWAY.
 */
void tap_tick(Tap *tap);

/* Does a call wait for its identity, so that tap_release() must be called in a while? */
static inline bool tap_waits(const Tap *tap) {
        return tap->n_pending > 0 || (tap->plain && hold_kept(&tap->hold) > 0);
}

/* Since when the first of them has waited; 0 if nothing is to be waited for. Only while tap_waits(). */
static inline uint64_t tap_waits_since(const Tap *tap) {
        return tap->n_pending > 0 ? tap->pending[0].since_ns : 0;
}

/* The rest is plain forwarding, because of @error; what is kept back waits for tap_release(). */
void tap_degrade(Tap *tap, int error);

/* Changes whether fields may be appended, from here on. */
void tap_set_inject(Tap *tap, bool may_inject);

/* Follows one more call, which another tap followed before. 0, -ENOMEM, or -EEXIST. */
int tap_adopt(Tap *tap, TapStream *stream);

/* Calls @fn for each call followed. */
void tap_each(const Tap *tap, void (*fn)(TapStream *stream, void *userdata), void *userdata);

/* Bytes of memory it has, but for the calls'. */
size_t tap_memory(const Tap *tap);
