#pragma once

/*
 * Caller
 *
 * The pipes between a monitor and the container engine that called it, as the environment names them: _OCI_STARTPIPE,
 * on which the engine says go; _OCI_SYNCPIPE, on which it hears of the container; _OCI_ATTACHPIPE, on which it hears
 * that it may attach. A monitor without one of them does without. What goes wrong is reported here.
 */

#include <stdbool.h>
#include <stddef.h>
#include "inherited.h"

typedef struct Caller {
        const char *key; /* of the messages */
        Inherited *inherited;
        int sync_fd; /* each -1 where there is none */
        int start_fd;
        int attach_fd;
} Caller;

#define CALLER_NULL \
        { .sync_fd = -1, .start_fd = -1, .attach_fd = -1 }

/* Which key conmon's messages have: "data" in the newer form, else by what they are about. */
const char *caller_key(bool api_version, bool exec);

/*
 * Waits for the caller's first word: it moves us to another cgroup before that, so there must be no other process of
 * ours yet. With @again there will be a second one, for the runtime to wait for; else the pipe is closed. 0 or a
 * negative errno.
 */
int caller_wait(Caller *caller, bool again);
/* Nobody waits for the second word any more but the runtime. */
void caller_started(Caller *caller);

/* Opens the other two; @attach: that one has to be there. 0 or a negative errno. */
int caller_open(Caller *caller, bool attach);

/*
 * Tells @number, and @len bytes of @text if there are any, in one write. A caller that is gone is told no more. 0 or a
 * negative errno.
 */
int caller_tell(Caller *caller, int number, const char *text, size_t len);
int caller_tell_attach(Caller *caller);
