#include <stdlib.h>
#include <string.h>
#include "h2append.h"
#include "tapinject.h"

static void tapinject_shift(Tap *tap, size_t from, size_t n) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].off > from)
                        tap->pending[i].off += n;
        if (tap->hold_frame && tap->frame_off > from)
                tap->frame_off += n;
}

static int tapinject_append(Tap *tap, TapStream *stream, const H2Frame *frame, uint8_t padding, size_t off,
                            const char *traceparent) {
        H2Append plan;
        int r;

        r = h2append_plan(frame, padding, tap->max_frame_size, TAPHEADERS_TRACEPARENT, traceparent, &plan);
        if (r < 0)
                return r;
        r = hold_insert(&tap->hold, off, plan.head, sizeof(plan.head), plan.at, plan.bytes, plan.size);
        if (r < 0)
                return r;
        tapinject_shift(tap, off, plan.size);
        tap->ops->injected(tap, stream);
        return 0;
}

/* Asks about the @i-th pending call. */
static void tapinject_decide(Tap *tap, unsigned i, bool final) {
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
                (void) tapinject_append(tap, pending.stream, &pending.frame, pending.padding, pending.off, traceparent);
}

void tapinject_ask(Tap *tap, const TapStream *stream, bool final) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].stream == stream) {
                        tapinject_decide(tap, i, final);
                        return;
                }
}

/* Those that wait since @since_ns or longer; the first has waited longest. */
void tapinject_ask_since(Tap *tap, uint64_t since_ns) {
        while (tap->n_pending > 0 && tap->pending[0].since_ns <= since_ns)
                tapinject_decide(tap, 0, true);
}

/* The frame that ends a new stream's header block is whole and kept back: does it get a field? */
void tapinject_ask_new(Tap *tap, TapStream *stream, bool final) {
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
                (void) tapinject_append(tap, stream, &dir->frame, dir->padding, tap->frame_off, traceparent);
}

/* May the open block still get a field? */
bool tapinject_undecided(const Tap *tap) {
        const TapHeaders *h = tap->dir[TAP_CLIENT].headers;

        return tap->may_inject && tap->block_new && h->n_traceparent == 0 &&
               (!h->method || h->method->class == METHOD_MUTATING);
}

void tapinject_forget(Tap *tap, const TapStream *stream) {
        for (unsigned i = 0; i < tap->n_pending; i++)
                if (tap->pending[i].stream == stream) {
                        memmove(tap->pending + i, tap->pending + i + 1,
                                (tap->n_pending - i - 1) * sizeof(*tap->pending));
                        tap->n_pending--;
                        return;
                }
}
