#pragma once

/*
 * Reading
 *
 * A note in STORE of which spool files podspand is reading right now. A podspand that is killed while it reads finds
 * the note at its next start: each file in it may be the reason. Such a file is a suspect. It is read once more, in a
 * turn of its own, so that a second death has one possible reason. A file that podspand died over twice is not read
 * again.
 *
 * The note is for a podspand that dies, not for a node that does: nothing waits for the disk.
 *
 * Order of calls in a turn: reading_deaths() and reading_begin() for each file before it is read, reading_end() when
 * the turn's transaction has been committed or rolled back.
 */

#include <stddef.h>
#include "spool.h"
#include "util.h"

#define READING_FILE       "podspand.reading"
#define READING_MAX        512 /* names in the note: suspects, and the files of a turn */
#define READING_DEATHS_MAX 2   /* a file that podspand died over so often is not read again */

typedef struct ReadingName {
        char name[SPOOL_NAME_MAX + 1];
        unsigned deaths;
        bool current; /* of this turn */
} ReadingName;

typedef struct Reading {
        int fd;
        ReadingName *names; /* suspects, and the files of this turn */
        size_t n_names;
        size_t n_suspects; /* of them */
        size_t size;       /* bytes of the note */
} Reading;

#define READING_NULL \
        { .fd = -EBADF }

/*
 * Opens the note in @store_fd, makes it where there is none, and takes in what an earlier life has left. What is no
 * note is overwritten.
 * Returns 0 or a negative errno. Where only writing fails the note can be used, and @fd is not negative.
 */
int reading_init(Reading *reading, int store_fd);
void reading_deinit(Reading *reading);

/* How often podspand died while it read @name: 0 for any file that is no suspect. */
unsigned reading_deaths(const Reading *reading, const char *name);

/* Notes that @name is read from now on. Returns 0, or a negative errno where the note cannot be written: the file may
 * be read all the same. */
int reading_begin(Reading *reading, const char *name);

/* @name is gone, or is not read: it is no suspect any more. */
void reading_forget(Reading *reading, const char *name);

/* The turn is over: none of its files is a suspect any more. The other suspects stay. 0 or a negative errno. */
int reading_end(Reading *reading);

/* Every file has been read: there are no suspects. 0 or a negative errno. */
int reading_clear(Reading *reading);
