#pragma once

/*
 * Differences of two texts
 *
 * By lines for people (a unified diff), by lines or words for taking one change out of a text that has changed
 * elsewhere as well. E. W. Myers, An O(ND) Difference Algorithm and Its Variations. No I/O but diff_print().
 */

#include <stdio.h>
#include "bytes.h"

/* Above this many differences two texts count as entirely different. */
#define DIFF_EDITS_MAX 2000

/* Prints how @a becomes @b as a unified diff to @out; NULL texts are files that are not there. Returns 0 or -ENOMEM. */
int diff_print(FILE *out, const char *path, const Bytes *a, const Bytes *b);

/*
 * Takes a change out: @mine is @after with changes of somebody else; @before is how @after was once. Gives @mine with
 * the change from @before to @after undone wherever it is still there. Returns the number of places where both changed
 * the same words, which are left as they are in @mine, or -ENOMEM.
 */
int diff_undo(const Bytes *before, const Bytes *after, const Bytes *mine, Bytes *ret);
