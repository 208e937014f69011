#include <errno.h>
#include <stdlib.h>
#include "tapinject.h"
#include "tapstreams.h"

static TapStream **tapstreams_find(Tap *tap, uint32_t id) {
        TapStream **p;

        if (!tap->buckets)
                return NULL;
        for (p = &tap->buckets[(id >> 1) % TAP_BUCKETS]; *p; p = &(*p)->next)
                if ((*p)->id == id)
                        return p;
        return NULL;
}

TapStream *tapstreams_lookup(Tap *tap, uint32_t id) {
        TapStream **p = tapstreams_find(tap, id);

        return p ? *p : NULL;
}

int tapstreams_make(Tap *tap) {
        if (!tap->buckets)
                tap->buckets = calloc(TAP_BUCKETS, sizeof(*tap->buckets));
        return tap->buckets ? 0 : -ENOMEM;
}

void tapstreams_insert(Tap *tap, TapStream *stream) {
        TapStream **bucket = &tap->buckets[(stream->id >> 1) % TAP_BUCKETS];

        stream->next = *bucket;
        *bucket = stream;
        tap->n_streams++;
        tap->n_crossed += stream->crossed;
}

void tapstreams_end(Tap *tap, TapStream **p, TapEnd how, const TapHeaders *headers, uint32_t error) {
        TapStream *stream = *p;

        *p = stream->next;
        tap->n_streams--;
        if (stream->pending)
                tapinject_forget(tap, stream);
        if (stream->crossed)
                tap->n_crossed--;
        tap->ops->end(tap, stream, how, headers, error);
}

void tapstreams_end_by_id(Tap *tap, uint32_t id, TapEnd how, const TapHeaders *headers, uint32_t error) {
        TapStream **p = tapstreams_find(tap, id);

        if (p)
                tapstreams_end(tap, p, how, headers, error);
}

/* Ends the calls with an id above @last. */
void tapstreams_end_above(Tap *tap, uint32_t last, TapEnd how) {
        for (unsigned i = 0; tap->buckets && i < TAP_BUCKETS; i++)
                for (TapStream **p = &tap->buckets[i]; *p;)
                        if ((*p)->id > last)
                                tapstreams_end(tap, p, how, NULL, 0);
                        else
                                p = &(*p)->next;
}
