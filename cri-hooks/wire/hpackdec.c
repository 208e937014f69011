#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <string.h>
#include "hpackdec.h"

#define TABLE_DEFAULT  4096U /* RFC 9113, 6.5.2 */
#define STATIC_ENTRIES 61    /* RFC 7541, appendix A */
#define ENTRY_OVERHEAD 32    /* RFC 7541, 4.1 */

int hpackdec_init(HpackDec *dec) {
        *dec = (HpackDec){};

        if (nghttp2_hd_inflate_new(&dec->inflater) != 0) {
                dec->inflater = NULL;
                return -ENOMEM;
        }
        dec->table_size = TABLE_DEFAULT;
        return 0;
}

void hpackdec_deinit(HpackDec *dec) {
        if (dec->inflater)
                nghttp2_hd_inflate_del(dec->inflater);
        *dec = (HpackDec){};
}

int hpackdec_fragment(HpackDec *dec, const uint8_t *data, size_t len, bool final, HpackDecFn fn, void *userdata) {
        if (!dec->inflater)
                return -EBADMSG;

        /* An offset of zero is not defined for NULL. */
        if (len == 0)
                data = (const uint8_t *) "";

        /* The first fragment of a block begins the counting; the last one leaves it to be read. */
        if (dec->n_encoded == 0) {
                dec->n_list = 0;
                dec->n_fields = 0;
        }
        if (len > HPACKDEC_BLOCK_MAX - dec->n_encoded)
                return -E2BIG;
        dec->n_encoded += (uint32_t) len;
        if (len > 0 || final)
                dec->shrunk = false;

        for (;;) {
                nghttp2_nv nv;
                int flags = 0;
                ssize_t n;

                n = nghttp2_hd_inflate_hd2(dec->inflater, &nv, &flags, data, len, final);
                if (n == NGHTTP2_ERR_NOMEM)
                        return -ENOMEM;
                if (n < 0)
                        return -EBADMSG;

                data += n;
                len -= (size_t) n;

                if (flags & NGHTTP2_HD_INFLATE_EMIT) {
                        if (++dec->n_fields > HPACKDEC_FIELDS_MAX ||
                            nv.namelen + nv.valuelen + 32 > HPACKDEC_LIST_MAX - dec->n_list)
                                return -E2BIG;
                        dec->n_list += (uint32_t) (nv.namelen + nv.valuelen + 32);
                        fn(userdata, (const char *) nv.name, nv.namelen, (const char *) nv.value, nv.valuelen);
                }

                if (flags & NGHTTP2_HD_INFLATE_FINAL) {
                        (void) nghttp2_hd_inflate_end_headers(dec->inflater);
                        dec->n_encoded = 0;
                        return 0;
                }

                /* Out of input: whole only if more is to come. */
                if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && len == 0)
                        return final ? -EBADMSG : 0;
        }
}

int hpackdec_table_size(HpackDec *dec, uint32_t size) {
        int r;

        if (!dec->inflater)
                return -EBADMSG;
        if (size > HPACKDEC_TABLE_MAX)
                return -E2BIG;

        if (size < nghttp2_hd_inflate_get_max_dynamic_table_size(dec->inflater))
                dec->shrunk = true;
        r = nghttp2_hd_inflate_change_table_size(dec->inflater, size);
        if (r == NGHTTP2_ERR_NOMEM)
                return -ENOMEM;
        dec->table_size = size;
        return r == 0 ? 0 : -EBADMSG;
}

size_t hpackdec_table_used(const HpackDec *dec) {
        return dec->inflater ? nghttp2_hd_inflate_get_dynamic_table_size(dec->inflater) : 0;
}

/*
 * What nghttp2 does not tell is kept here: the size last set (the most the encoder may ask for), and whether a smaller
 * one waits for the encoder to say that it follows. The table's own size is then that smaller one.
 */
void hpackdec_pack(const HpackDec *dec, Pack *pack) {
        size_t n = nghttp2_hd_inflate_get_num_table_entries(dec->inflater);

        pack_number(pack, dec->table_size);
        pack_number(pack, nghttp2_hd_inflate_get_max_dynamic_table_size(dec->inflater));
        pack_number(pack, dec->shrunk);
        pack_number(pack, n - STATIC_ENTRIES);
        /* The oldest entry has the highest index. */
        for (size_t i = n; i > STATIC_ENTRIES; i--) {
                const nghttp2_nv *nv = nghttp2_hd_inflate_get_table_entry(dec->inflater, i);

                pack_bytes(pack, nv->name, nv->namelen);
                pack_bytes(pack, nv->value, nv->valuelen);
        }
}

/* An integer with a prefix of @bits (RFC 7541, 5.1), the bits before it being @first. Returns its length. */
static size_t integer_write(uint8_t *p, uint8_t first, unsigned bits, size_t number) {
        size_t max = ((size_t) 1 << bits) - 1, n = 0;

        if (number < max) {
                p[n++] = (uint8_t) (first | number);
                return n;
        }
        p[n++] = (uint8_t) (first | max);
        for (number -= max; number >= 0x80; number >>= 7)
                p[n++] = (uint8_t) (0x80 | (number & 0x7f));
        p[n++] = (uint8_t) number;
        return n;
}

static int feed(nghttp2_hd_inflater *inflater, const uint8_t *data, size_t len, bool final) {
        for (;;) {
                nghttp2_nv nv;
                int flags = 0;
                ssize_t n;

                n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, data, len, final);
                if (n < 0)
                        return n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EBADMSG;
                data += n;
                len -= (size_t) n;
                if (flags & NGHTTP2_HD_INFLATE_FINAL)
                        return nghttp2_hd_inflate_end_headers(inflater) == 0 ? 0 : -EBADMSG;
                if (len == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT))
                        return final ? -EBADMSG : 0;
        }
}

static int feed_table_size(nghttp2_hd_inflater *inflater, size_t size) {
        uint8_t block[16];

        return feed(inflater, block, integer_write(block, 0x20, 5, size), true);
}

/* A block with one field, a literal with incremental indexing and a new name (RFC 7541, 6.2.1). */
static int feed_entry(nghttp2_hd_inflater *inflater, const uint8_t *name, size_t n_name, const uint8_t *value,
                      size_t n_value) {
        uint8_t head[16] = { 0x40 };
        int r;

        r = feed(inflater, head, 1 + integer_write(head + 1, 0, 7, n_name), false);
        if (r == 0)
                r = feed(inflater, name, n_name, false);
        if (r == 0)
                r = feed(inflater, head, integer_write(head, 0, 7, n_value), n_value == 0);
        if (r == 0 && n_value > 0)
                r = feed(inflater, value, n_value, true);
        return r;
}

int hpackdec_unpack(Unpack *unpack, HpackDec *ret) {
        size_t table_size = unpack_number(unpack, HPACKDEC_TABLE_MAX);
        size_t size = unpack_number(unpack, HPACKDEC_TABLE_MAX);
        bool shrunk = unpack_bool(unpack);
        size_t n = unpack_number(unpack, HPACKDEC_TABLE_MAX / ENTRY_OVERHEAD), used = 0;
        int r;

        *ret = (HpackDec){};
        if (unpack->failed || size > table_size || (shrunk && size == HPACKDEC_TABLE_MAX))
                return unpack_fail(unpack);
        r = hpackdec_init(ret);
        if (r < 0)
                return r;

        /* As if the peer's table had always been of this size, or one byte larger until it is made smaller below. */
        if (nghttp2_hd_inflate_change_table_size(ret->inflater, MAX(table_size, size + shrunk)) != 0)
                return -ENOMEM;
        r = feed_table_size(ret->inflater, size + shrunk);

        for (size_t i = 0; i < n && r == 0; i++) {
                size_t n_name, n_value;
                const uint8_t *name = unpack_bytes(unpack, HPACKDEC_TABLE_MAX, &n_name);
                const uint8_t *value = unpack_bytes(unpack, HPACKDEC_TABLE_MAX, &n_value);

                if (unpack->failed)
                        return unpack_result(unpack);
                used += n_name + n_value + ENTRY_OVERHEAD;
                if (used > size)
                        return unpack_fail(unpack);
                r = feed_entry(ret->inflater, name, n_name, value, n_value);
        }
        if (r < 0)
                return r == -EBADMSG ? unpack_fail(unpack) : r;

        if (shrunk) {
                if (nghttp2_hd_inflate_change_table_size(ret->inflater, size) != 0 ||
                    nghttp2_hd_inflate_change_table_size(ret->inflater, table_size) != 0)
                        return -ENOMEM;
                ret->shrunk = true;
        }
        ret->table_size = (uint32_t) table_size;

        /* The library is of another version, or does not do what this relies on. */
        if (nghttp2_hd_inflate_get_num_table_entries(ret->inflater) != STATIC_ENTRIES + n ||
            nghttp2_hd_inflate_get_dynamic_table_size(ret->inflater) != used ||
            nghttp2_hd_inflate_get_max_dynamic_table_size(ret->inflater) != size)
                return unpack_fail(unpack);
        return 0;
}
