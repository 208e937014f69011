#include <assert.h>
#include <string.h>
#include "envcarrier.h"
#include "origin.h"

static void derive(const Session *session, Origin *origin, const char *id) {
        origin->source = ORIGIN_DERIVED;
        sampler_derive(&session->sampler, id, &origin->parent);
}

static int new_root(const Session *session, Origin *origin) {
        origin->source = ORIGIN_ROOT;
        return sampler_new_root(&session->sampler, &origin->parent);
}

/* The id that all of a sandbox's spans can derive a trace from. */
static const char *derive_id(const Origin *origin, const State *state) {
        return origin->identity.sandbox_id[0] != '\0' ? origin->identity.sandbox_id : state->id;
}

static void merge_identity(Origin *origin, const Identity *known, const State *state) {
        identity_merge_known(&origin->identity, known, state->id, origin->sandbox);
}

/* A record's trace is its own span's where there was no parent; those spans are roots of the derived trace. */
static void record_parent(const Origin *origin, TraceContext *ret) {
        const Identity *identity = &origin->record.identity;
        const char *id = identity->sandbox_id[0] != '\0' ? identity->sandbox_id : identity->container_id;
        TraceContext derived;

        *ret = origin->record.trace;
        tracecontext_derive(id, strlen(id), &derived);
        if (memcmp(derived.trace_id, ret->trace_id, sizeof(derived.trace_id)) == 0)
                memset(ret->span_id, 0, sizeof(ret->span_id));
}

bool origin_start_parent(const Origin *origin, uint64_t now_ns, TraceContext *ret) {
        assert(origin);
        assert(ret);

        if (!origin->has_record)
                return false;

        record_parent(origin, ret);
        /* Without an interceptor all spans of a sandbox share the derived trace, however late. */
        return context_start_recent(&origin->record, now_ns, origin->start_window_ns) || !tracecontext_has_span(ret);
}

/* Finds what the files in the context directory know. Returns whether @origin has a parent now. */
static int find_call(const Session *session, const State *state, Stage stage, uint64_t now_ns, Origin *origin,
                     bool *ret_found) {
        const ContextQuery query = {
                .identity = &origin->identity,
                .operations = stage_operations(stage, origin->manager, origin->sandbox),
        };
        ContextMatch match;
        bool ends = stage == STAGE_POSTSTOP;
        ContextRecord start;
        int r;

        r = context_find(&session->context, &query, &match);
        if (r < 0)
                match.found = CONTEXT_FOUND_NONE;

        *ret_found = false;
        switch (match.found) {
        case CONTEXT_FOUND_NONE:
                return 0;
        case CONTEXT_FOUND_CANDIDATES:
                for (size_t i = 0; i < match.n_candidates; i++)
                        spanlinks_add(&origin->links, &match.candidates[i], "candidate");
                return 0;
        case CONTEXT_FOUND_PARENT:
                merge_identity(origin, &match.record.identity, state);
                if (ends && context_get_start(&session->context, state->id, &origin->identity, &start) == 0) {
                        merge_identity(origin, &start.identity, state);
                        spanlinks_add(&origin->links, &start.trace, "start");
                }
                origin->source = ORIGIN_CALL;
                origin->parent = match.record.trace;
                *ret_found = true;
                return 0;
        case CONTEXT_FOUND_START:
                merge_identity(origin, &match.record.identity, state);
                if (context_start_recent(&match.record, now_ns, origin->start_window_ns)) {
                        origin->source = ORIGIN_START;
                        origin->parent = match.record.trace;
                } else {
                        spanlinks_add(&origin->links, &match.record.trace, "start");
                        r = new_root(session, origin);
                        if (r < 0)
                                return r;
                }
                *ret_found = true;
                return 0;
        }
        return 0;
}

int origin_find(const Session *session, const State *state, Stage stage, char *const *envp, uint64_t now_ns,
                Origin *origin) {
        TraceContext environment;
        bool from_environment, found = false;
        int r;

        assert(session);
        assert(origin);

        memset(origin, 0, sizeof(*origin));
        origin->start_window_ns = session->config.start_window_ns;
        from_environment = envcarrier_get(envp, &environment, &origin->tracestate) == 0;

        if (state) {
                origin->manager = state_manager(state);
                state_identity(state, origin->manager, &origin->identity, &origin->sandbox);
                origin->has_record = context_get(&session->context, CONTEXT_HOOK, state->id, &origin->record) == 0;

                /* Asked also where the environment has a parent, for the identity. */
                r = find_call(session, state, stage, now_ns, origin, &found);
                if (r < 0)
                        return r;
                if (origin->has_record)
                        merge_identity(origin, &origin->record.identity, state);
                for (size_t i = 0; i < state->n_links; i++)
                        spanlinks_add(&origin->links, &state->links[i], "annotation");
        }

        if (from_environment) {
                origin->source = ORIGIN_ENVIRONMENT;
                origin->parent = environment;
        } else if (!found && state) {
                TraceContext start;

                if (origin_start_parent(origin, now_ns, &start)) {
                        origin->source = ORIGIN_RECORD;
                        origin->parent = start;
                } else if (origin->has_record) {
                        spanlinks_add(&origin->links, &start, "start");
                        r = new_root(session, origin);
                        if (r < 0)
                                return r;
                } else {
                        derive(session, origin, derive_id(origin, state));
                        counters_add(session->counters, COUNTERS_HOOK, COUNTERS_HOOK_UNLINKED, 1);
                }
        } else if (!found) {
                r = new_root(session, origin);
                if (r < 0)
                        return r;
        }

        /* The end leads back to the start also where it belongs to the call that asked for it. */
        if (stage == STAGE_POSTSTOP && origin->has_record &&
            (origin->source == ORIGIN_CALL || origin->source == ORIGIN_ENVIRONMENT))
                spanlinks_add(&origin->links, &origin->record.trace, "start");

        return 0;
}

int origin_span(const Origin *origin, const State *state, const char *name, const TraceContext *parent, Span **ret) {
        _cleanup_(span_freep) Span *span = NULL;
        TraceContext context;
        int r;

        assert(origin);
        assert(parent);
        assert(ret);

        r = tracecontext_new_child(parent, &context);
        if (r < 0)
                return r;

        r = span_new(name, SPAN_KIND_INTERNAL, &context, parent, &span);
        if (r < 0)
                return r;

        if (tracecontext_has_span(parent))
                span_set_parent_remote(span, true);
        if (origin->source == ORIGIN_ENVIRONMENT)
                span_set_tracestate(span, origin->tracestate);
        span_set_identity(span, &origin->identity);
        if (state)
                span_attr_str(span, "container.id", state->id);
        span_attr_str(span, "container.runtime.name", manager_name(origin->manager));
        spanlinks_set(&origin->links, parent, span);

        *ret = TAKE_PTR(span);
        return 0;
}
