#pragma once

/*
 * Backlog
 *
 * A container's output that some reader does not have yet, kept once for all readers. Bytes are added at its end; each
 * reader that is behind has a mark where it goes on. What lies before the first mark is freed.
 */

#include <stdint.h>
#include "util.h"

#define BACKLOG_PIECE_MIN (8U * 1024) /* bytes allocated at least, so that small writes share an allocation */

typedef struct BacklogPiece BacklogPiece;

typedef struct Backlog {
        BacklogPiece *first;
        BacklogPiece *last;
        size_t size; /* bytes of memory */
} Backlog;

/* Where a reader is; zeroed: it has everything. To be left before it goes away. */
typedef struct BacklogMark {
        BacklogPiece *piece;
        size_t at;
} BacklogMark;

/* Bytes of one stream that lie together. */
typedef struct BacklogPart {
        uint8_t stream;
        const uint8_t *data;
        size_t n;
} BacklogPart;

/* Adds a copy of @n bytes, which are the next for every reader that has a mark. Returns 0 with the place where they
 * begin, which is no mark yet, or -ENOMEM. With no mark set after it, they are gone with the next change. */
int backlog_add(Backlog *backlog, uint8_t stream, const uint8_t *data, size_t n, BacklogMark *ret_begin);
/* Sets @mark, of a reader that had everything, @skip bytes behind @begin; fewer than were added there. */
void backlog_enter(BacklogMark *mark, const BacklogMark *begin, size_t skip);
/* The reader needs nothing more. */
void backlog_leave(Backlog *backlog, BacklogMark *mark);

/* The next bytes behind @mark, in at most @n_max parts of at most @part_max bytes. Returns the number of parts; they
 * are valid until the backlog is changed. */
size_t backlog_peek(const BacklogMark *mark, size_t n_max, size_t part_max, BacklogPart *ret);
/* The reader has the next @n bytes, not more than there are. */
void backlog_advance(Backlog *backlog, BacklogMark *mark, size_t n);
/* How many bytes it lacks. */
size_t backlog_left(const BacklogMark *mark);

static inline bool backlog_behind(const BacklogMark *mark) {
        return mark->piece != NULL;
}
