#pragma once

/*
 * HPACK decoder of one direction
 *
 * nghttp2's inflater behind limits. Every header block of the direction must pass through it, in order, or the dynamic
 * table is lost. A new table size, from the SETTINGS of the block's receiver, is to be set when the sender's ACK
 * passes: earlier or later is a decoding error.
 */

#include <stddef.h>
#include <stdint.h>
#include "pack.h"
#include "util.h"

#define HPACKDEC_BLOCK_MAX  (256U * 1024)  /* encoded bytes of one block */
#define HPACKDEC_LIST_MAX   (1024U * 1024) /* its decoded size, as SETTINGS_MAX_HEADER_LIST_SIZE counts */
#define HPACKDEC_FIELDS_MAX 1024
#define HPACKDEC_TABLE_MAX  (1024U * 1024) /* a table larger than this is a surprise */

typedef struct HpackDec {
        struct nghttp2_hd_inflater *inflater;
        uint32_t n_encoded; /* of the block so far */
        uint32_t n_list;
        uint32_t n_fields;
        uint32_t table_size; /* as last set */
        bool shrunk;         /* it was less than the table had, and no block has come since */
} HpackDec;

typedef void (*HpackDecFn)(void *userdata, const char *name, size_t n_name, const char *value, size_t n_value);

/* 0 or -ENOMEM; @dec need not be initialized. */
int hpackdec_init(HpackDec *dec);
void hpackdec_deinit(HpackDec *dec);

/*
 * Decodes the next @len bytes of a header block, calling @fn for each field that is whole; name and value are valid in
 * the call only. @final marks the block's last fragment. Returns 0, -EBADMSG for a decoding error, -E2BIG above a
 * limit, -ENOMEM; after any of these the decoder is of no further use.
 */
int hpackdec_fragment(HpackDec *dec, const uint8_t *data, size_t len, bool final, HpackDecFn fn, void *userdata);

/* Sets the table size, between two blocks. 0, -E2BIG, -ENOMEM or -EBADMSG. */
int hpackdec_table_size(HpackDec *dec, uint32_t size);

/* Does the next fragment begin a block? */
static inline bool hpackdec_at_start(const HpackDec *dec) {
        return dec->n_encoded == 0;
}

/* A block that changes no table was not decoded, because its decoded size and fields are known. */
static inline void hpackdec_skipped(HpackDec *dec, uint32_t list_size) {
        dec->n_list = list_size;
}

/* The decoded size of the block just finished (RFC 9113, 6.5.2: name + value + 32 a field). */
static inline uint32_t hpackdec_list_size(const HpackDec *dec) {
        return dec->n_list;
}

/* Packs the decoder, between two blocks: its dynamic table and the sizes that it goes by. */
void hpackdec_pack(const HpackDec *dec, Pack *pack);
/*
 * Makes a decoder that goes on where the packed one was. Returns 0, -EBADMSG or -ENOMEM; @ret need not be initialized,
 * and is to be released in any case.
 */
int hpackdec_unpack(Unpack *unpack, HpackDec *ret);

/* Bytes in the dynamic table, as HPACK counts them. */
size_t hpackdec_table_used(const HpackDec *dec);
