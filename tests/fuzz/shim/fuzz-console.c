#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "console.h"

#define CONTROL_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The descriptors are numbers that no file has; the control data's sizes are whatever they are, as far as it goes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        union {
                uint8_t bytes[CONTROL_MAX];
                struct cmsghdr align;
        } control = {};
        struct msghdr message = { .msg_control = control.bytes };
        int fd;

        if (size == 0 || size - 1 > sizeof(control))
                return 0;
        memcpy(control.bytes, data + 1, size - 1);
        message.msg_controllen = size - 1;
        message.msg_flags = data[0] & 1 ? MSG_CTRUNC : 0;

        /* The kernel's part: no header is longer than what is there, and descriptors are those of files. */
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
                size_t left = (size_t) (control.bytes + message.msg_controllen - (uint8_t *) c);

                if (c->cmsg_len > left || c->cmsg_len < sizeof(*c))
                        return 0;
                memset(CMSG_DATA(c), 0x7f, c->cmsg_len - CMSG_LEN(0));
        }

        fd = console_take_fd(&message);
        if (fd >= 0 && fd != 0x7f7f7f7f)
                abort();
        return 0;
}
