#include <assert.h>
#include <stdalign.h>
#include <string.h>
#include "arena.h"

typedef struct ArenaChunk {
        struct ArenaChunk *next;
        size_t size; /* of data */
        alignas(max_align_t) uint8_t data[];
} ArenaChunk;

static void *arena_allocator_alloc(void *userdata, size_t size) {
        return arena_alloc(userdata, size);
}

static void arena_allocator_free(void *userdata, void *p) {
        (void) userdata;
        (void) p;
}

void arena_init(Arena *arena, size_t max) {
        assert(arena);

        *arena = (Arena){
                .max = max,
                .allocator = { .alloc = arena_allocator_alloc, .free = arena_allocator_free, .allocator_data = arena },
        };
}

void arena_deinit(Arena *arena) {
        for (ArenaChunk *chunk = arena->chunks, *next; chunk; chunk = next) {
                next = chunk->next;
                free(chunk);
        }
        arena->chunks = NULL;
        arena->n_used = arena->n_total = 0;
}

void *arena_alloc(Arena *arena, size_t size) {
        ArenaChunk *chunk = arena->chunks;
        size_t chunk_size;
        void *p;

        if (size > arena->max) {
                arena->exhausted = true;
                return NULL;
        }
        size = MAX((size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1), alignof(max_align_t));

        if (!chunk || size > chunk->size - arena->n_used) {
                chunk_size = MAX(size, (size_t) ARENA_CHUNK_SIZE);
                if (arena->n_total > arena->max || chunk_size > arena->max - arena->n_total) {
                        arena->exhausted = true;
                        return NULL;
                }
                chunk = malloc(sizeof(*chunk) + chunk_size);
                if (!chunk)
                        return NULL;
                chunk->next = arena->chunks;
                chunk->size = chunk_size;
                arena->chunks = chunk;
                arena->n_used = 0;
                arena->n_total += chunk_size;
        }

        p = chunk->data + arena->n_used;
        arena->n_used += size;
        return p;
}

void *arena_alloc0(Arena *arena, size_t size) {
        void *p = arena_alloc(arena, size);

        return p ? memset(p, 0, size) : NULL;
}

void arena_reset(Arena *arena) {
        /* The oldest chunk is kept, so that the common small file needs no allocation, unless it is a large one. */
        while (arena->chunks && (arena->chunks->next || arena->chunks->size > ARENA_CHUNK_SIZE)) {
                ArenaChunk *chunk = arena->chunks;

                arena->chunks = chunk->next;
                arena->n_total -= chunk->size;
                free(chunk);
        }
        arena->n_used = 0;
        arena->exhausted = false;
}
