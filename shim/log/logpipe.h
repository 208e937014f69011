#pragma once

/*
 * A log destination that is no regular file
 *
 * FIFOs, terminals and other devices: where a reader takes the records. It gets whole records only. A record that was
 * begun is finished first, whatever happens in between.
 *
 * Waiting, in which a write blocks the monitor and so is back-pressure for the container:
 * - A reader that is slow: up to LOGPIPE_STALL_MS without progress. Then the destination counts as stalled and is not
 *   waited for until it takes data again.
 * - A FIFO that nobody has read yet: it is made as large as LOGPIPE_KEEP (as far as the kernel allows), and once that
 *   is full there is a wait of LOGPIPE_READER_MS in all.
 *
 * Memory: the rest of one record, while there is one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define LOGPIPE_STALL_MS  500
#define LOGPIPE_READER_MS 10000
#define LOGPIPE_KEEP      (1024 * 1024)
#define LOGPIPE_SEGMENTS  72

typedef struct LogPipe {
        int fd; /* borrowed, non-blocking */
        bool fifo;
        bool read;    /* somebody has taken something */
        bool widened; /* LOGPIPE_KEEP was asked for */
        bool stalled;
        uint32_t reader_ms; /* of LOGPIPE_READER_MS, what is left */
        uint64_t written;   /* bytes, in all */
        uint8_t *rest;      /* of a record that was begun */
        size_t n_rest;
} LogPipe;

/* @fd stays the caller's and has O_NONBLOCK; a FIFO is open for reading, too, so that it holds what nobody reads yet.
 * @reader: somebody had the FIFO open for reading. */
void logpipe_init(LogPipe *pipe, int fd, bool fifo, bool reader);
void logpipe_deinit(LogPipe *pipe);

/*
 * Writes the records in @segments, at most LOGPIPE_SEGMENTS, each ended by the only newline in it. Returns 0 if all
 * were taken, a begun one included, which is finished later; -EAGAIN if the destination is stalled, or another negative
 * errno of write(2). How many bytes were taken, whole records, is in @ret_taken either way.
 */
int logpipe_write(LogPipe *pipe, const struct iovec *segments, size_t n, size_t *ret_taken);

/* Finishes a record that was begun, if there is one. 0 or a negative errno. */
int logpipe_finish(LogPipe *pipe);

/*
 * For the end, after everything else was done: a FIFO's content is gone with its last end. Waits, for what is left of
 * LOGPIPE_READER_MS, until somebody has the FIFO open. Returns 0, or -EAGAIN if nobody came; nothing is written after
 * it.
 */
int logpipe_linger(LogPipe *pipe);

/* Moves the @n segments at *@iov on behind the @written bytes that writev(2) took of them. */
void logpipe_advance(struct iovec **iov, size_t *n, size_t written);
