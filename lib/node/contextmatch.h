#pragma once

/*
 * Context match
 *
 * The names of context files, and which live call an asker may take for its cause (docs/context.md, "Names" and
 * "Looking up"). No I/O: the directory is context.h's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "contextrecord.h"

#define CONTEXT_NAME_MAX        160  /* characters of a file name */
#define CONTEXTMATCH_VERSION    "1-" /* what a name of this version begins with */
#define CONTEXTMATCH_KEY_DIGITS 16

/* A key of a live file's name: a hash, or "x" for what is not known. */
typedef struct ContextKey {
        char text[CONTEXTMATCH_KEY_DIGITS + 1];
} ContextKey;

typedef struct ContextKeys {
        ContextKey container; /* C */
        ContextKey sandbox;   /* S */
        ContextKey name;      /* U: pod UID and container name */
} ContextKeys;

/* What a call and an asker have in common; the lowest decides. */
typedef enum ContextLevel {
        CONTEXT_LEVEL_CONTAINER,
        CONTEXT_LEVEL_SANDBOX,
        CONTEXT_LEVEL_NAME,
        CONTEXT_LEVEL_NONE, /* nothing, or something differs */
} ContextLevel;

ContextKeys contextmatch_keys(const Identity *identity);

/* The name of the live file for @record, whose operation is valid. */
void contextmatch_live_name(const ContextRecord *record, char ret[static CONTEXT_NAME_MAX + 1]);

/* Is @name of a version this reader knows, and no dot name? */
bool contextmatch_version_known(const char *name);

/* Did the process @pid write the live file @name, as far as the name tells? */
bool contextmatch_name_of_pid(const char *name, uint32_t pid);

/* Can the live file @name be worth opening for an asker with @keys and @operations (NULL-terminated)? */
bool contextmatch_name_may(const char *name, const ContextKeys *keys, const char *const *operations);

/* Is @operation of @len characters one of @operations? */
bool contextmatch_operation_asked(const char *const *operations, const char *operation, size_t len);

/* Is there a field that both know, and that is not the same? */
bool contextmatch_contradicts(const Identity *a, const Identity *b);

/* On which level does a call with the identity @call match @asker? */
ContextLevel contextmatch_level(const Identity *call, const Identity *asker);
