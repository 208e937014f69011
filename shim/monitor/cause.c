#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "cause.h"
#include "envcarrier.h"
#include "operations.h"

#define CONFIG_JSON "config.json"

static const char *const restore[] = { "CreateContainer", "StartContainer", NULL };
/* Not CreateContainer, which operations_end() has: under CRI-O a monitor's spans are below that call already. */
static const char *const end_container[] = { "StopContainer",    "RemoveContainer", "StopPodSandbox",
                                             "RemovePodSandbox", "StartContainer",  NULL };

static const char *const *operations(const Cause *cause, RuntimeVerb verb, Manager manager) {
        if (verb == RUNTIME_EXEC)
                return operations_exec();
        if (verb == RUNTIME_RESTORE && !cause->sandbox)
                return restore;
        return operations_create(manager, cause->sandbox);
}

static void derive(const Session *session, Cause *cause, const char *id) {
        const char *from = cause->identity.sandbox_id[0] != '\0' ? cause->identity.sandbox_id : id;

        cause->source = CAUSE_DERIVED;
        sampler_derive(&session->sampler, from, &cause->parent);
}

/* Reads the annotations of the bundle's configuration; what cannot be read names nobody. */
static void read_bundle(const Session *session, const char *id, const char *bundle, State *state) {
        _cleanup_(state_parser_freep) StateParser *parser = NULL;
        _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
        uint8_t bytes[16384];
        int r = 0;

        parser = state_parser_new_config(state, id, bundle, session->config.link_annotations);
        if (!parser)
                return;
        dir_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return;
        fd = openat(dir_fd, CONFIG_JSON, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return;

        while (r == 0) {
                ssize_t n = read(fd, bytes, sizeof(bytes));

                if (n <= 0)
                        return;
                r = state_parser_feed(parser, bytes, (size_t) n);
        }
        if (r < 0)
                counters_add(session->counters, session->producer, COUNTERS_INPUT_BAD, 1);
}

static void merge_identity(Cause *cause, const Identity *known, const char *id) {
        identity_merge_known(&cause->identity, known, id, cause->sandbox);
}

/* Asks the context files. Returns whether @cause has a parent now; @ret_late: no, for its start was too long ago. */
static bool find_call(const Session *session, RuntimeVerb verb, Manager manager, const char *id, uint64_t now_ns,
                      Cause *cause, bool *ret_late) {
        const ContextQuery query = { .identity = &cause->identity, .operations = operations(cause, verb, manager) };
        ContextRecord start;
        ContextMatch match;

        *ret_late = false;
        if (context_find(&session->context, &query, &match) < 0)
                return false;

        /* An exec's container is known by its start, also where the call that executes is in flight. */
        if (verb == RUNTIME_EXEC && match.found != CONTEXT_FOUND_START &&
            context_get_start(&session->context, id, &cause->identity, &start) == 0) {
                merge_identity(cause, &start.identity, id);
                spanlinks_add(&cause->links, &start.trace, "start");
        }

        switch (match.found) {
        case CONTEXT_FOUND_NONE:
                return false;
        case CONTEXT_FOUND_CANDIDATES:
                for (size_t i = 0; i < match.n_candidates; i++)
                        spanlinks_add(&cause->links, &match.candidates[i], "candidate");
                return false;
        case CONTEXT_FOUND_PARENT:
                merge_identity(cause, &match.record.identity, id);
                cause->source = CAUSE_CALL;
                cause->parent = match.record.trace;
                return true;
        case CONTEXT_FOUND_START:
                merge_identity(cause, &match.record.identity, id);
                if (verb == RUNTIME_EXEC ||
                    !context_start_recent(&match.record, now_ns, session->config.start_window_ns)) {
                        spanlinks_add(&cause->links, &match.record.trace, "start");
                        *ret_late = true;
                        return false;
                }
                cause->source = CAUSE_START;
                cause->parent = match.record.trace;
                return true;
        }
        return false;
}

int cause_find(const Session *session, RuntimeVerb verb, const char *id, const char *bundle, char *const *envp,
               uint64_t now_ns, Cause *ret) {
        Manager manager = MANAGER_UNKNOWN;
        TraceContext environment;
        bool from_environment, found, late;
        State state = {};

        assert(session);
        assert(id);
        assert(ret);

        *ret = (Cause){};
        from_environment = envcarrier_get(envp, &environment, &ret->tracestate) == 0;

        /* An exec's bundle is its own folder, without a configuration. */
        if (bundle && verb != RUNTIME_EXEC && util_id_valid(id)) {
                read_bundle(session, id, bundle, &state);
                manager = state_manager(&state);
                state_identity(&state, manager, &ret->identity, &ret->sandbox);
                ret->manager = manager_name(manager);
                for (size_t i = 0; i < state.n_links; i++)
                        spanlinks_add(&ret->links, &state.links[i], "annotation");
        } else if (util_id_valid(id)) {
                util_copy_bounded(ret->identity.container_id, sizeof(ret->identity.container_id), id, strlen(id));
        }

        /* Asked also where the environment has a parent, for the identity. */
        found = find_call(session, verb, manager, id, now_ns, ret, &late);
        if (from_environment) {
                ret->source = CAUSE_ENVIRONMENT;
                ret->parent = environment;
                return 0;
        }
        if (found)
                return 0;

        if (late || (verb == RUNTIME_EXEC && ret->links.n > 0)) {
                ret->source = CAUSE_ROOT;
                return sampler_new_root(&session->sampler, &ret->parent);
        }
        derive(session, ret, id);
        return 0;
}

bool cause_find_end(const Session *session, const Cause *cause, ContextRecord *ret) {
        const ContextQuery query = {
                .identity = &cause->identity,
                .operations = cause->sandbox ? operations_end(/* sandbox= */ true) : end_container,
        };
        ContextMatch match;

        if (context_find(&session->context, &query, &match) < 0 || match.found != CONTEXT_FOUND_PARENT)
                return false;
        *ret = match.record;
        return true;
}
