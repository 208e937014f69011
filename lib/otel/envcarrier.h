#pragma once

/*
 * Environment carrier
 *
 * Trace context handed from process to process in the environment: TRACEPARENT, TRACESTATE, BAGGAGE
 * (OpenTelemetry, "Environment Variables as Context Propagation Carriers"). Reads only these very names; accepts
 * only what is well-formed; never changes the environment of this process.
 */

#include "tracecontext.h"

#define ENVCARRIER_BAGGAGE_MAX 8192

/*
 * Reads TRACEPARENT from @envp. Returns 0 with the context in @ret, -ENOENT if it is not set, -EBADMSG if it is set
 * but malformed. If @ret_tracestate is given it gets a pointer into @envp, or NULL where TRACESTATE is absent,
 * malformed or too long.
 */
int envcarrier_get(char *const *envp, TraceContext *ret, const char **ret_tracestate);

/*
 * Builds the environment for a child: @envp with the three names replaced by @context, @tracestate (may be NULL) and
 * the BAGGAGE already in @envp if that is at most ENVCARRIER_BAGGAGE_MAX bytes. A @context of NULL strips TRACEPARENT
 * and TRACESTATE. Returns 0 with a NULL-terminated vector in one allocation (free() it; strings of @envp are shared) or
 * -ENOMEM.
 */
int envcarrier_child(char *const *envp, const TraceContext *context, const char *tracestate, char ***ret);
