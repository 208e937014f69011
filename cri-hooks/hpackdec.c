#include <errno.h>
#include <nghttp2/nghttp2.h>
#include "hpackdec.h"

int hpackdec_init(HpackDec *dec) {
        *dec = (HpackDec){};

        if (nghttp2_hd_inflate_new(&dec->inflater) != 0) {
                dec->inflater = NULL;
                return -ENOMEM;
        }
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

        r = nghttp2_hd_inflate_change_table_size(dec->inflater, size);
        if (r == NGHTTP2_ERR_NOMEM)
                return -ENOMEM;
        return r == 0 ? 0 : -EBADMSG;
}
