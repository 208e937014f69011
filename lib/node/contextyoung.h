#pragma once

/*
 * Young calls
 *
 * STATE/context/live/.young: the calls in flight that have no file of their own yet. To make, name and remove a file
 * takes longer than a call may be held up; to write into one that is there does not. So that is how a call is announced
 * before its request goes on, and it gets a file once it has lasted a while. The layout is in docs/context.md.
 *
 * One writer at a time has the file (flock(2), as long as it is open); who reads needs no lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "util.h"

#define CONTEXTYOUNG_NAME     ".young"
#define CONTEXTYOUNG_SLOTS    32  /* calls at a time */
#define CONTEXTYOUNG_TEXT_MAX 990 /* bytes of one's record */

typedef struct ContextYoung ContextYoung;

/*
 * Opens the file in the directory @dir_fd, which is borrowed, for writing, and makes it if it is missing. What a writer
 * that died left in it stays until contextyoung_clear(). Returns 0, -EBUSY: another process has it, or another negative
 * errno.
 */
int contextyoung_open(int dir_fd, ContextYoung **ret);
/* Takes away what has been put, and the file if it is empty then; NULL is fine. Returns NULL. */
ContextYoung *contextyoung_close(ContextYoung *young);

DEFINE_CLEANUP(ContextYoung *, contextyoung_close);

/* Has somebody removed the file? Then nobody reads it. */
bool contextyoung_removed(const ContextYoung *young);

/*
 * Announces the record @text, the writer's @seq-th. Returns its slot, -E2BIG, -EBUSY where all slots are taken, or
 * another negative errno.
 */
int contextyoung_put(ContextYoung *young, uint64_t seq, const char *text, size_t len);
/* What was put there: at most @size bytes into @ret. Returns its length, -EBADMSG or another negative errno. */
int contextyoung_get(const ContextYoung *young, int slot, char *ret, size_t size);
void contextyoung_clear(ContextYoung *young, int slot);
/* Takes away what others have left. */
void contextyoung_clear_left(ContextYoung *young);

/*
 * Calls @fn for each record of the file in @dir_fd; @text is valid until it returns. A negative return of @fn ends it
 * and is returned; otherwise 0, also where there is no such file, or a negative errno.
 */
int contextyoung_each(int dir_fd, int (*fn)(int slot, const char *text, size_t len, void *userdata), void *userdata);

/* The record in the @size bytes of a slot, or NULL: it is empty, or was being written. No I/O. */
const char *contextyoung_text(const char *slot, size_t size, size_t *ret_len);
