#include <stdio.h>
#include <string.h>
#include "context.h"
#include "stopping.h"

typedef struct Search {
        Stopping *stopping;
        const StoreUndecided *undecided;
        uint64_t began_ns;
        bool found;
} Search;

static int on_record(const char *name, const ContextRecord *record, void *userdata) {
        char method[128];
        Search *search = userdata;
        OutcomeFacts facts = { .name = method };
        const char *id;

        (void) name;

        (void) snprintf(method, sizeof(method), "runtime.v1.RuntimeService/%s", record->operation);
        facts.container_id = record->identity.container_id;
        facts.sandbox_id = record->identity.sandbox_id;
        if (outcome_stop(&facts, &id) != OUTCOME_STOP_CALL || !id || !*id ||
            record->start_ns > search->undecided->end_ns ||
            (!outcome_same_id(id, search->undecided->container_id) &&
             !outcome_same_id(id, search->undecided->sandbox_id)))
                return 0;

        util_copy_bounded(search->stopping->id, sizeof(search->stopping->id), id, strlen(id));
        search->began_ns = record->start_ns;
        search->found = true;
        return -ECANCELED;
}

const char *stopping_find(const StoreUndecided *undecided, uint64_t *ret_began_ns, void *userdata) {
        _cleanup_(context_deinit) Context context = CONTEXT_NULL;
        Stopping *stopping = userdata;
        Search search = { .stopping = stopping, .undecided = undecided };

        if (stopping->state_fd < 0 ||
            context_init(&context, stopping->state_fd, /* create= */ false, COUNTERS_AGENT, NULL) < 0)
                return NULL;
        (void) context_list(&context, CONTEXT_LIVE, on_record, &search);
        if (!search.found)
                return NULL;
        *ret_began_ns = search.began_ns;
        return stopping->id;
}
