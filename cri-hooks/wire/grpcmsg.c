#include <errno.h>
#include <string.h>
#include "grpcmsg.h"
#include "util.h"

int grpcmsg_next(GrpcMsg *msg, const uint8_t **data, size_t *len, const uint8_t **ret_chunk, size_t *ret_len) {
        size_t n;

        if (msg->n_prefix < GRPCMSG_PREFIX_SIZE) {
                n = MIN(*len, (size_t) (GRPCMSG_PREFIX_SIZE - msg->n_prefix));
                if (n > 0)
                        memcpy(msg->prefix + msg->n_prefix, *data, n);
                *data += n;
                *len -= n;
                msg->n_prefix = (uint8_t) (msg->n_prefix + n);

                if (msg->n_prefix > 0 && msg->prefix[0] > 1)
                        return -EBADMSG;
                if (msg->n_prefix < GRPCMSG_PREFIX_SIZE)
                        return GRPCMSG_NONE;

                msg->left = (uint32_t) msg->prefix[1] << 24 | (uint32_t) msg->prefix[2] << 16 |
                            (uint32_t) msg->prefix[3] << 8 | msg->prefix[4];
                msg->n_messages++;
                if (msg->prefix[0] == 1)
                        msg->compressed = true;
                return GRPCMSG_BEGIN;
        }

        if (msg->left == 0) {
                msg->n_prefix = 0;
                return GRPCMSG_END;
        }

        n = MIN(*len, (size_t) msg->left);
        if (n == 0)
                return GRPCMSG_NONE;

        *ret_chunk = *data;
        *ret_len = n;
        *data += n;
        *len -= n;
        msg->left -= (uint32_t) n;
        msg->n_bytes += n;
        return GRPCMSG_CHUNK;
}
