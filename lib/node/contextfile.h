#pragma once

/*
 * The files behind context.h
 *
 * Reading, writing and listing them, for the modules that make up a Context; everybody else uses context.h.
 */

#include <dirent.h>
#include "context.h"

/* The name of a kind's directory, and how many files it may hold. */
const char *contextfile_dir(ContextKind kind);
unsigned contextfile_max(ContextKind kind);

/* Opens the directory @name in @dir_fd, which is made if it may be. A missing one is -ENOENT. */
int contextfile_open_dir(int dir_fd, const char *name, bool create);

/* Reads all of @name, NUL-terminated, into @ret of @size bytes. Returns the length or a negative errno. */
int contextfile_read_small(int dir_fd, const char *name, char *ret, size_t size);

/* As context_format(), without what nobody looks for where that is too long. */
int contextfile_format(const ContextRecord *record, char text[static CONTEXT_FILE_MAX + 1]);

/* Writes (or replaces) the file @name, whole or not at all. 0 or a negative errno. */
int contextfile_write(Context *context, ContextKind kind, const char *name, const ContextRecord *record);
/* 0, -ENOENT, -EBADMSG (counted) or another negative errno. */
int contextfile_read(const Context *context, ContextKind kind, const char *name, ContextRecord *ret);

/*
 * For listing: a descriptor of its own, as the position in a directory belongs to the open file. NULL with -errno in
 * @ret_error; 0: there is none.
 */
DIR *contextfile_open_kind(const Context *context, ContextKind kind, int *ret_error);

static inline void closedirp(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

/* The young calls that a listing has told of: between them and the files it may meet one twice. */
typedef struct ContextYoungs {
        const Context *context;
        int (*fn)(int slot, const ContextRecord *record, void *userdata);
        void *userdata;
        struct {
                uint32_t pid;
                uint64_t seq;
        } seen[CONTEXTYOUNG_SLOTS];
        size_t n_seen;
} ContextYoungs;

/*
 * Calls @fn for each young call as contextyoung_each() does. To be called before the files are listed: a call that gets
 * its file meanwhile is met once at least, and contextfile_young_seen() says which are met again.
 */
int contextfile_each_young(const Context *context, int (*fn)(int slot, const ContextRecord *record, void *userdata),
                           void *userdata, ContextYoungs *ret);
bool contextfile_young_seen(const ContextYoungs *young, const ContextRecord *record);
