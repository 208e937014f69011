#pragma once

/*
 * Cause
 *
 * Whose trace a monitor's spans belong to, and whose container it is. In order of trust: TRACEPARENT in the
 * environment; the CRI call in flight that can have caused the runtime call; for a container, not for what is executed
 * in one, its start within `start_window`; the trace derived from the sandbox's id. What comes later than the start has
 * a trace of its own, linked to it. An annotation's traceparent is a link, never more.
 */

#include "context.h"
#include "runtimeargs.h"
#include "session.h"
#include "spanlinks.h"
#include "state.h"

typedef enum CauseSource {
        CAUSE_ENVIRONMENT,
        CAUSE_CALL,    /* a live context file */
        CAUSE_START,   /* the start's context file */
        CAUSE_DERIVED, /* from the sandbox's id */
        CAUSE_ROOT,    /* a trace of its own, linked */
} CauseSource;

typedef struct Cause {
        CauseSource source;
        TraceContext parent;    /* a zero span id: the span is a root in this trace; flags are the decision */
        const char *tracestate; /* of the environment; borrowed, may be NULL */
        SpanLinks links;
        const char *manager; /* container.runtime.name, NULL: not known */
        bool sandbox;        /* the sandbox's own container */
        Identity identity;   /* container_id is empty for a sandbox */
} Cause;

/*
 * Finds the cause of a runtime's @verb on container @id at @now_ns of the wall clock. @bundle (NULL: none) is read for
 * whose container it is; @envp is the environment. Returns 0, or a negative errno (no random numbers) and @ret then is
 * not to be used.
 */
int cause_find(const Session *session, RuntimeVerb verb, const char *id, const char *bundle, char *const *envp,
               uint64_t now_ns, Cause *ret);

/* The call in flight that can have ended the container. Returns whether there is exactly one. */
bool cause_find_end(const Session *session, const Cause *cause, ContextRecord *ret);
