#pragma once

/*
 * CRI's Version call
 *
 * One call with fixed bytes to a runtime's socket: the name and version that the runtime says of itself. Needs no gRPC;
 * CRI defines the call as one without effect. The reply is hostile until parsed.
 */

#include "util.h"

#define CRIVERSION_REPLY_MAX 16384 /* bytes of the connection that are looked at */
#define CRIVERSION_WAIT_MS   1000  /* for all of it */

typedef struct Criversion {
        char name[64];    /* "containerd", "cri-o" */
        char version[64]; /* "v1.7.20", "2.1.0", "1.34.0" */
} Criversion;

/* Asks the runtime at @path below @root_fd; root must be who listens there. Returns 0, -EPERM if another user listens,
 * -ETIMEDOUT, -EBADMSG, or another negative errno. */
int criversion_ask(int root_fd, const char *path, Criversion *ret);

/* Parses what the server has sent so far. Returns 1 with @ret, 0 if more is needed, -EBADMSG. No I/O. */
int criversion_parse(const uint8_t *s, size_t n, Criversion *ret);
