#pragma once

/*
 * Known header blocks
 *
 * Most blocks of a gRPC connection consist of nothing but references into the HPACK table: every reply's headers and
 * trailers, and requests without a deadline. Such a block changes no table, so it means the same as long as the table
 * is the same, and need not be decoded again. The cache of one direction holds the last few; whoever decodes a block
 * that is not of this kind, or sets a table size, must clear it. No I/O.
 */

#include "tapheaders.h"
#include "util.h"

#define BLOCKCACHE_ENTRIES   3
#define BLOCKCACHE_BLOCK_MAX 24 /* bytes, as many as fields */

typedef struct BlockCacheEntry {
        uint8_t block[BLOCKCACHE_BLOCK_MAX];
        uint8_t n_block;    /* 0: empty */
        uint32_t list_size; /* see hpackdec_list_size() */
        uint8_t headers[offsetof(TapHeaders, path)];
} BlockCacheEntry;

typedef struct BlockCache {
        BlockCacheEntry entries[BLOCKCACHE_ENTRIES];
        uint8_t next; /* to be overwritten */
} BlockCache;

/* Is this whole block one that changes no table, and small enough? (RFC 7541, 6.1, with the index in one byte.) */
bool blockcache_fits(const uint8_t *block, size_t len);

/* Looks up a block for which blockcache_fits() holds. Returns whether it was there; @ret and @ret_list_size are then
 * what decoding gives. */
bool blockcache_find(const BlockCache *cache, const uint8_t *block, size_t len, TapHeaders *ret,
                     uint32_t *ret_list_size);

/* Remembers what such a block was decoded to; not if @headers holds texts that are not kept here. */
void blockcache_put(BlockCache *cache, const uint8_t *block, size_t len, const TapHeaders *headers, uint32_t list_size);

/* The table has, or may have, changed. */
void blockcache_clear(BlockCache *cache);
