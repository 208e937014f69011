#include <assert.h>
#include <errno.h>
#include <string.h>
#include "backlog.h"

struct BacklogPiece {
        BacklogPiece *next;
        size_t n_marks;
        size_t n;
        size_t max;
        uint8_t stream;
        uint8_t data[];
};

/* Marks only move on, so what is before the first one will not be asked for. */
static void free_passed(Backlog *backlog) {
        while (backlog->first && backlog->first->n_marks == 0) {
                BacklogPiece *piece = backlog->first;

                backlog->first = piece->next;
                backlog->size -= sizeof(*piece) + piece->max;
                free(piece);
        }
        if (!backlog->first)
                backlog->last = NULL;
}

int backlog_add(Backlog *backlog, uint8_t stream, const uint8_t *data, size_t n, BacklogMark *ret_begin) {
        BacklogPiece *piece = backlog->last;

        assert(n > 0);

        if (!piece || piece->stream != stream || piece->max - piece->n < n) {
                size_t max = MAX(n, (size_t) BACKLOG_PIECE_MIN);

                piece = malloc(sizeof(*piece) + max);
                if (!piece)
                        return -ENOMEM;
                *piece = (BacklogPiece){ .stream = stream, .max = max };
                backlog->size += sizeof(*piece) + max;
                if (backlog->last)
                        backlog->last->next = piece;
                else
                        backlog->first = piece;
                backlog->last = piece;
        }

        *ret_begin = (BacklogMark){ .piece = piece, .at = piece->n };
        memcpy(piece->data + piece->n, data, n);
        piece->n += n;
        return 0;
}

void backlog_enter(BacklogMark *mark, const BacklogMark *begin, size_t skip) {
        assert(!mark->piece);
        assert(begin->at + skip < begin->piece->n);

        *mark = (BacklogMark){ .piece = begin->piece, .at = begin->at + skip };
        mark->piece->n_marks++;
}

void backlog_leave(Backlog *backlog, BacklogMark *mark) {
        if (!mark->piece)
                return;
        mark->piece->n_marks--;
        *mark = (BacklogMark){ 0 };
        free_passed(backlog);
}

size_t backlog_peek(const BacklogMark *mark, size_t n_max, size_t part_max, BacklogPart *ret) {
        const BacklogPiece *piece = mark->piece;
        size_t at = mark->at, n = 0;

        while (piece && n < n_max) {
                size_t len = MIN(piece->n - at, part_max);

                ret[n++] = (BacklogPart){ .stream = piece->stream, .data = piece->data + at, .n = len };
                at += len;
                if (at == piece->n) {
                        piece = piece->next;
                        at = 0;
                }
        }
        return n;
}

void backlog_advance(Backlog *backlog, BacklogMark *mark, size_t n) {
        BacklogPiece *piece = mark->piece;

        if (!piece)
                return;
        piece->n_marks--;
        while (piece && n >= piece->n - mark->at) {
                n -= piece->n - mark->at;
                piece = piece->next;
                mark->at = 0;
        }
        assert(piece || n == 0);

        mark->piece = piece;
        mark->at += n;
        if (piece)
                piece->n_marks++;
        free_passed(backlog);
}

size_t backlog_left(const BacklogMark *mark) {
        size_t n = 0;

        for (const BacklogPiece *piece = mark->piece; piece; piece = piece->next)
                n += piece->n;
        return n - mark->at;
}
