#include <errno.h>
#include <stdlib.h>
#include "handovermsg.h"

#define MAGIC UINT64_C(0x6972632d6e617073)

void handovermsg_deinit(HandoverMsg *msg) {
        free(msg->runtime);
        free(msg->config);
        free(msg->state_dir);
        free(msg->notify);
        *msg = (HandoverMsg){};
}

void handovermsg_write(const HandoverMsg *msg, Pack *pack) {
        pack_number(pack, MAGIC);
        pack_number(pack, msg->type);
        switch (msg->type) {
        case HANDOVER_HELLO:
                pack_number(pack, msg->version);
                break;
        case HANDOVER_INFO:
                pack_number(pack, msg->version);
                pack_string(pack, msg->runtime);
                pack_string(pack, msg->config);
                pack_string(pack, msg->state_dir);
                pack_string(pack, msg->notify);
                pack_number(pack, msg->watchdog_usec);
                break;
        case HANDOVER_START:
                pack_number(pack, msg->tap_version);
                break;
        case HANDOVER_STATE:
                pack_number(pack, msg->n_conns);
                pack_number(pack, msg->size);
                pack_number(pack, msg->owns_path);
                pack_number(pack, msg->dev);
                pack_number(pack, msg->ino);
                break;
        default:
                break;
        }
}

int handovermsg_read(const void *p, size_t n, HandoverMsg *ret) {
        Unpack unpack = unpack_make(p, n);
        uint64_t magic = unpack_number(&unpack, UINT64_MAX);

        *ret = (HandoverMsg){};
        ret->type = (HandoverType) unpack_number(&unpack, _HANDOVER_TYPE_MAX - 1);
        if (unpack.failed || magic != MAGIC || ret->type == 0)
                return -EBADMSG;

        switch (ret->type) {
        case HANDOVER_HELLO:
        case HANDOVER_INFO:
                ret->version = (uint32_t) unpack_number(&unpack, UINT32_MAX);
                if (ret->version != HANDOVERMSG_VERSION)
                        return unpack_result(&unpack);
                if (ret->type == HANDOVER_HELLO)
                        break;
                ret->runtime = unpack_string(&unpack, HANDOVERMSG_TEXT_MAX);
                ret->config = unpack_string(&unpack, HANDOVERMSG_TEXT_MAX);
                ret->state_dir = unpack_string(&unpack, HANDOVERMSG_TEXT_MAX);
                ret->notify = unpack_string(&unpack, HANDOVERMSG_TEXT_MAX);
                ret->watchdog_usec = unpack_number(&unpack, UINT64_MAX / 1000);
                break;
        case HANDOVER_START:
                ret->tap_version = (uint32_t) unpack_number(&unpack, UINT32_MAX);
                break;
        case HANDOVER_STATE:
                ret->n_conns = (uint32_t) unpack_number(&unpack, HANDOVERMSG_CONNS_MAX);
                ret->size = unpack_number(&unpack, INT64_MAX);
                ret->owns_path = unpack_bool(&unpack);
                ret->dev = unpack_number(&unpack, UINT64_MAX);
                ret->ino = unpack_number(&unpack, UINT64_MAX);
                break;
        default:
                break;
        }
        return unpack.n > 0 ? -EBADMSG : unpack_result(&unpack);
}
