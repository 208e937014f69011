#include <stdlib.h>
#include <string.h>
#include "callstart.h"
#include "grpcutil.h"

/* The sandbox whose start this call is part of, or NULL. */
static PodmapEntry *start_of(const Call *call) {
        Podmap *map = call->calls->podmap;
        PodmapEntry *sandbox = NULL, *container;

        if (!call->fields)
                return NULL;
        switch (call->method->effect) {
        case METHOD_PULL_IMAGE:
                sandbox = podmap_find_pod(map, call_field(call, CRI_POD_UID));
                if (sandbox && call->fields->sandbox_attempt != sandbox->attempt)
                        return NULL;
                break;
        case METHOD_CREATE_CONTAINER:
                if (call->fields->container_attempt == 0)
                        sandbox = podmap_find(map, call_field(call, CRI_SANDBOX_ID));
                break;
        case METHOD_START_CONTAINER:
                container = podmap_find(map, call_field(call, CRI_CONTAINER_ID));
                if (container && container->is_container && container->attempt_known && container->attempt == 0 &&
                    !container->started)
                        sandbox = podmap_sandbox(map, container);
                break;
        default:
                break;
        }

        if (!sandbox || sandbox->is_container || !sandbox->has_start)
                return NULL;
        /* Written as a difference of what may be in any order: clocks step. */
        if (call->start.realtime_ns > sandbox->start_ns && call->start.realtime_ns - sandbox->start_ns > CALLS_JOIN_NS)
                return NULL;
        return sandbox;
}

int callstart_context(Call *call) {
        const PodmapEntry *sandbox;
        int r;

        if (call->has_context)
                return 0;

        if (call->has_caller)
                r = tracecontext_new_child(&call->parent, &call->context);
        else {
                sandbox = start_of(call);
                if (sandbox) {
                        r = tracecontext_new_child(&sandbox->start, &call->context);
                        if (r == 0) {
                                call->parent = sandbox->start;
                                call->joined = true;
                        }
                } else {
                        r = tracecontext_new_root(&call->context);
                        if (r == 0)
                                call->context.flags = sampler_flags(&call->calls->sampler, NULL, &call->context);
                }
        }
        if (r < 0)
                return r;
        call->has_context = true;
        return 0;
}

void callstart_note(Call *call) {
        PodmapEntry *entry, *sandbox;

        if (!call->fields || call->method->effect == METHOD_RUN_POD_SANDBOX)
                return;

        entry = call_find_entry(call);
        if (!entry) {
                if (call_field(call, CRI_CONTAINER_ID) || call_field(call, CRI_SANDBOX_ID)) {
                        call->calls->sandboxes.wanted = true;
                        call->calls->containers.wanted = true;
                }
                return;
        }
        if (entry->has_start) {
                call->start_link = entry->start;
                return;
        }
        sandbox = podmap_sandbox(call->calls->podmap, entry);
        if (sandbox && sandbox->has_start)
                call->start_link = sandbox->start;
}

static void write_start(Calls *calls, const char *id) {
        PodmapEntry *entry = podmap_find(calls->podmap, id);
        const char *operation;
        ContextRecord record;

        if (!entry || !entry->has_start)
                return;

        memset(&record, 0, sizeof(record));
        operation = !entry->is_container ? "RunPodSandbox" : entry->start_called ? "StartContainer" : "CreateContainer";
        util_copy_bounded(record.operation, sizeof(record.operation), operation, strlen(operation));
        record.trace = entry->start;
        record.start_ns = entry->call_ns;
        podmap_identity(calls->podmap, entry, &record.identity);
        (void) context_put(&calls->context, CONTEXT_START, id, &record);
}

void callstart_flush(Calls *calls) {
        for (unsigned i = 0; i < calls->n_starts; i++) {
                write_start(calls, calls->starts[i]);
                calls->starts[i] = (free(calls->starts[i]), NULL);
        }
        calls->n_starts = 0;
}

/*
 * Makes @call the start of @entry. Its file is written when there is a moment, before the next call about any sandbox
 * or container at the latest: until then the call in flight is what a reader finds.
 */
static void set_start(const Call *call, PodmapEntry *entry) {
        Calls *calls = call->calls;
        const char *id = podmap_string(entry, PODMAP_ID);

        entry->start = call->context;
        entry->call_ns = call->start.realtime_ns;
        entry->has_start = true;

        for (unsigned i = 0; i < calls->n_starts; i++)
                if (strcmp(calls->starts[i], id) == 0)
                        return;
        if (calls->n_starts == CALLS_STARTS_MAX)
                callstart_flush(calls);
        calls->starts[calls->n_starts] = strdup(id);
        if (!calls->starts[calls->n_starts])
                return;
        if (calls->n_ended == 0 && calls->n_starts == 0 && calls->wake)
                calls->wake(calls, CALLS_ENDED);
        calls->n_starts++;
}

static void forget_start(const char *id, void *userdata) {
        (void) context_remove(&((Calls *) userdata)->context, CONTEXT_START, id);
}

/* What a call that succeeded tells about sandboxes and containers. */
static void learn(Call *call) {
        Calls *calls = call->calls;
        PodmapEntry *entry;

        if (!call->fields)
                return;

        switch (call->method->effect) {
        case METHOD_RUN_POD_SANDBOX:
                entry = podmap_put_sandbox(calls->podmap, call->fields);
                if (!entry || !call->has_context)
                        break;
                entry->start_ns = call->end.end_ns;
                set_start(call, entry);
                break;
        case METHOD_CREATE_CONTAINER:
                entry = podmap_put_container(calls->podmap, call->fields);
                if (!entry || !call->has_context)
                        break;
                entry->start_called = false;
                set_start(call, entry);
                break;
        case METHOD_START_CONTAINER:
                entry = podmap_find(calls->podmap, call_field(call, CRI_CONTAINER_ID));
                if (entry && entry->is_container)
                        entry->started = true;
                break;
        case METHOD_REMOVE_CONTAINER:
                if (call_field(call, CRI_CONTAINER_ID)) {
                        podmap_remove(calls->podmap, call_field(call, CRI_CONTAINER_ID));
                        forget_start(call_field(call, CRI_CONTAINER_ID), calls);
                }
                break;
        case METHOD_REMOVE_POD_SANDBOX:
                podmap_remove_sandbox(calls->podmap, call_field(call, CRI_SANDBOX_ID), forget_start, calls);
                break;
        default:
                break;
        }
}

void callstart_request(Call *call) {
        PodmapEntry *entry;

        if (!call->fields)
                return;
        entry = podmap_put_container(call->calls->podmap, call->fields);
        if (entry) {
                entry->start_called = true;
                set_start(call, entry);
        }
}

void callstart_end(Call *call) {
        PodmapEntry *sandbox = call->joined ? start_of(call) : NULL;

        if (sandbox)
                sandbox->start_ns = call->end.end_ns;
        if (call->end.status == GRPC_OK)
                learn(call);
}

static char *known(const char *s) {
        return s[0] ? (char *) s : NULL;
}

CriFields callstart_fields(const Identity *identity) {
        return (CriFields){
                .s = {
                        [CRI_POD_UID] = known(identity->pod_uid),
                        [CRI_POD_NAME] = known(identity->pod_name),
                        [CRI_POD_NAMESPACE] = known(identity->pod_namespace),
                        [CRI_SANDBOX_ID] = known(identity->sandbox_id),
                        [CRI_CONTAINER_ID] = known(identity->container_id),
                        [CRI_CONTAINER_NAME] = known(identity->container_name),
                        [CRI_IMAGE] = known(identity->image),
                        [CRI_RUNTIME_HANDLER] = known(identity->runtime_handler),
                },
                .sandbox_attempt = identity->sandbox_attempt,
                .sandbox_metadata = identity->sandbox_attempt_known,
                .container_attempt = identity->container_attempt,
                .container_metadata = identity->container_attempt_known,
        };
}

static int on_start_file(const char *name _unused_, const ContextRecord *record, void *userdata) {
        CriFields fields = callstart_fields(&record->identity);
        Calls *calls = userdata;
        PodmapEntry *entry;

        if (fields.s[CRI_CONTAINER_ID]) {
                entry = podmap_put_container(calls->podmap, &fields);
                if (entry)
                        entry->started = entry->start_called = strcmp(record->operation, "StartContainer") == 0;
        } else
                entry = podmap_put_sandbox(calls->podmap, &fields);
        if (entry) {
                entry->start = record->trace;
                entry->has_start = true;
                entry->start_ns = entry->call_ns = record->start_ns;
        }
        return 0;
}

void callstart_load(Calls *calls) {
        (void) context_list(&calls->context, CONTEXT_START, on_start_file, calls);
}
