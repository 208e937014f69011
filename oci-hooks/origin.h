#pragma once

/*
 * Origin
 *
 * Whose trace a hook's spans belong to, and whose container it is. In order of trust: TRACEPARENT in the environment;
 * the CRI call in flight that can have caused the stage; within `start_window`, the start of the container or sandbox;
 * what this hook recorded at createRuntime; the trace derived from the sandbox's id. Later than that the start is a
 * link. An annotation's traceparent is a link, never more.
 */

#include "context.h"
#include "session.h"
#include "spanlinks.h"
#include "stage.h"
#include "state.h"

typedef enum OriginSource {
        ORIGIN_ENVIRONMENT,
        ORIGIN_CALL,    /* a live context file */
        ORIGIN_START,   /* the start's context file */
        ORIGIN_RECORD,  /* the hook's own */
        ORIGIN_DERIVED, /* from the sandbox's id */
        ORIGIN_ROOT,    /* a trace of its own, linked */
} OriginSource;

typedef struct Origin {
        OriginSource source;
        TraceContext parent;    /* a zero span id: the span is a root in this trace; flags are the decision */
        const char *tracestate; /* of the environment; borrowed, may be NULL */
        SpanLinks links;

        uint64_t start_window_ns;

        Manager manager;
        bool sandbox;      /* the sandbox's own container */
        Identity identity; /* container_id is empty for a sandbox */

        bool has_record; /* this container's record, written at createRuntime */
        ContextRecord record;
} Origin;

/*
 * Finds the origin of @stage of the container in @state at @now_ns of the wall clock; @state may be NULL (`wrap`
 * without a state).
 * @envp is the environment. Returns 0, or a negative errno (no random numbers) and @ret then is not to be used.
 */
int origin_find(const Session *session, const State *state, Stage stage, char *const *envp, uint64_t now_ns,
                Origin *ret);

/* The origin's trace of this container's start, as far as its record says: within `start_window` of it. */
bool origin_start_parent(const Origin *origin, uint64_t now_ns, TraceContext *ret);

/* Makes a span of @origin with its identity, links and the attribute container.id. Returns 0 or a negative errno. */
int origin_span(const Origin *origin, const State *state, const char *name, const TraceContext *parent, Span **ret);
