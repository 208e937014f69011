#pragma once

/*
 * Semantic conventions
 *
 * Names of spans that more than one program of podspan knows.
 */

#include <stdbool.h>

/* Spans that last as long as a container or a client does, with whoever emits them. */
#define SEMCONV_SPAN_ATTACH             "attach"             /* podspan-conmon */
#define SEMCONV_SPAN_CONTAINER          "container"          /* podspan-hook */
#define SEMCONV_SPAN_READ_LOOP          "read_loop"          /* podspan-conmon */
#define SEMCONV_SPAN_WAIT_FOR_EXIT_CODE "wait_for_exit_code" /* podspan-conmon, podspan-watch */

/* Is the span @name one of those above? How long it lasts is not how long anybody waited. */
bool semconv_long_lived(const char *name);
