#include <string.h>
#include "blockcache.h"

bool blockcache_fits(const uint8_t *block, size_t len) {
        if (len == 0 || len > BLOCKCACHE_BLOCK_MAX)
                return false;
        for (size_t i = 0; i < len; i++)
                if (block[i] < 0x80 || block[i] == 0xff)
                        return false;
        return true;
}

bool blockcache_find(const BlockCache *cache, const uint8_t *block, size_t len, TapHeaders *ret,
                     uint32_t *ret_list_size) {
        for (size_t i = 0; i < BLOCKCACHE_ENTRIES; i++) {
                const BlockCacheEntry *entry = &cache->entries[i];

                if (entry->n_block != len || memcmp(entry->block, block, len) != 0)
                        continue;

                tapheaders_clear(ret);
                memcpy(ret, entry->headers, sizeof(entry->headers));
                if (ret->method && ret->method->name) {
                        size_t n = strlen(ret->method->name);

                        ret->path[0] = '/';
                        memcpy(ret->path + 1, ret->method->name, n + 1);
                }
                *ret_list_size = entry->list_size;
                return true;
        }
        return false;
}

void blockcache_put(BlockCache *cache, const uint8_t *block, size_t len, const TapHeaders *headers,
                    uint32_t list_size) {
        BlockCacheEntry *entry = &cache->entries[cache->next];

        /* A path comes back from the method's name. */
        if (headers->message[0] != '\0' ||
            (headers->path[0] != '\0' && !(headers->method && headers->method->name && headers->path[0] == '/' &&
                                           strcmp(headers->path + 1, headers->method->name) == 0)))
                return;

        memcpy(entry->block, block, len);
        entry->n_block = (uint8_t) len;
        entry->list_size = list_size;
        memcpy(entry->headers, headers, sizeof(entry->headers));
        cache->next = (uint8_t) ((cache->next + 1) % BLOCKCACHE_ENTRIES);
}

void blockcache_clear(BlockCache *cache) {
        for (size_t i = 0; i < BLOCKCACHE_ENTRIES; i++)
                cache->entries[i].n_block = 0;
}
