#pragma once

/*
 * Exit status
 *
 * How a process ended, as attributes of its span: the one rule of the hook, the monitor and podspan-watch.
 */

#include "span.h"

#define EXITSTATUS_SIGNAL_MAX 16

/* "SIGKILL", "SIGRTMIN+3"; "SIGUNKNOWN" for a number that is no signal. Returns @ret. */
const char *exitstatus_signal(int signal, char ret[static EXITSTATUS_SIGNAL_MAX]);

/* The exit code a shell makes of a wait(2) @status: 128 and the number for a signal. -1 if it says neither. */
int exitstatus_code(int status);

/*
 * Sets process.exit.code, after a signal (0: none) podspan.process.signal, and for any @code but 0 error.type and the
 * status Error with @text (may be NULL). A negative @code is not known and sets nothing.
 */
void exitstatus_set(Span *span, int code, int signal, const char *text);

/* The same for a wait(2) @status; a negative one is not known. */
void exitstatus_set_wait(Span *span, int status, const char *text);
