#pragma once

/*
 * Pool of context files
 *
 * To make, name and remove a file for each call costs more than all else podspan-cri does about it. The pool keeps
 * files under dot names, writes one of them whole and shows it under the call's name by a hard link, which is as atomic
 * as a rename; when the call is over the link goes, and the file is the next one to be written again: what was used
 * last is still in the processor's caches. Who reads one therefore looks, after reading, whether the name is still
 * there: no name is used twice, so what was read was the call's (docs/context.md).
 */

#include "util.h"

#define CONTEXTPOOL_FILES_MAX 256

typedef struct ContextPool ContextPool;

/* The pid in the dot name @name of a pool's file, 0 if it is none: whose owner is gone can be removed. */
uint32_t contextpool_name_pid(const char *name);

/* A pool of files in the directory @dir_fd (borrowed), which it makes as they are needed. NULL without memory. */
ContextPool *contextpool_new(int dir_fd, uint32_t pid);
/* Removes the files' dot names. NULL is fine. */
ContextPool *contextpool_free(ContextPool *pool);
DEFINE_CLEANUP(ContextPool *, contextpool_free);

/*
 * Shows @len bytes of @text as the file @name. Returns a number above 0 for contextpool_rest(), -EBUSY if all files are
 * in use, or another negative errno; @name is then not there.
 */
int contextpool_show(ContextPool *pool, const char *name, const char *text, size_t len);
/* The caller has removed the name under which file @n was shown. */
void contextpool_rest(ContextPool *pool, int n);
