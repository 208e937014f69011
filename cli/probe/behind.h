#pragma once

/*
 * The runtime behind a CRI socket
 *
 * A client of podspan-cri sees podspan-cri's socket only: where a call fails because the runtime is away, gRPC says
 * "Socket closed" of the wrong one. This finds out which runtime it is, and whether it listens.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define BEHIND_PATH_MAX sizeof(((struct sockaddr_un *) NULL)->sun_path)

typedef struct Behind {
        int dialled;                   /* what connect(2) to the socket itself says: 0 or a negative errno */
        bool interceptor;              /* it is podspan-cri's */
        char runtime[BEHIND_PATH_MAX]; /* of podspan-cri; "": not known */
        int runtime_dialled;           /* 0 or a negative errno, if it is known */
} Behind;

/* The value of --runtime in a command line of podspan-cri, arguments with a NUL after each as /proc has them. Returns
 * false, with "" in @ret, if it is no such command line or has none. No I/O. */
bool behind_read_cmdline(const char *cmdline, size_t n, char ret[BEHIND_PATH_MAX]);

/*
 * Looks at the socket at @endpoint ("unix:///PATH" or a path). The runtime is the one that the listening process of
 * root's or our own was started for, else where PATH.bypass leads, else what the unit serves by that name. Connects to
 * both, sends nothing.
 */
void behind_look(const char *endpoint, const char *state_dir, Behind *ret);

/* What to say of a call that failed as UNAVAILABLE, in @buf; "" where the runtime takes connections. */
void behind_explain(const Behind *behind, const char *endpoint, char *buf, size_t size);
