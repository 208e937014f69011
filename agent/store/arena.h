#pragma once

/*
 * Arena
 *
 * Memory for one spool file's decoded messages: taken piece by piece, given back all at once, never more than a
 * maximum. Being the allocator of protobuf-c it turns a hostile file's thousands of allocations into a bounded few.
 */

#include <stddef.h>
#include <protobuf-c/protobuf-c.h>
#include "util.h"

#define ARENA_CHUNK_SIZE (256U * 1024)

typedef struct Arena {
        struct ArenaChunk *chunks; /* the newest first; the oldest one stays over a reset */
        size_t n_used;             /* of the newest */
        size_t n_total;            /* in all chunks */
        size_t max;
        bool exhausted;               /* the maximum was hit since the last reset */
        ProtobufCAllocator allocator; /* for protobuf-c; its free does nothing */
} Arena;

#define ARENA_NULL \
        {}

/* An arena of at most @max bytes. It must not move afterwards: the allocator points to it. */
void arena_init(Arena *arena, size_t max);
void arena_deinit(Arena *arena);

/* @size zeroed or unset bytes, aligned for any object, or NULL above the maximum or without memory. */
void *arena_alloc(Arena *arena, size_t size);
void *arena_alloc0(Arena *arena, size_t size);

/* Takes everything back. */
void arena_reset(Arena *arena);
