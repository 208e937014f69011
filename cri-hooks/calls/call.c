#include <stdlib.h>
#include <string.h>
#include "call.h"

const char *call_name(const Call *call) {
        return call->path ? call->path : call->method->name ? call->method->name : "_OTHER";
}

const char *call_field(const Call *call, CriString string) {
        return call->fields ? call->fields->s[string] : NULL;
}

/* The entry of what the call is about: its container, else its sandbox, else the pod's newest sandbox. */
PodmapEntry *call_find_entry(const Call *call) {
        Podmap *map = call->calls->podmap;
        PodmapEntry *entry;

        entry = podmap_find(map, call_field(call, CRI_CONTAINER_ID));
        if (!entry)
                entry = podmap_find(map, call_field(call, CRI_SANDBOX_ID));
        if (!entry)
                entry = podmap_find_pod(map, call_field(call, CRI_POD_UID));
        return entry;
}

void call_identity(const Call *call, Identity *ret) {
        PodmapEntry *entry;

        if (!call->fields)
                return;
        cri_fields_identity(call->fields, ret);

        /* What makes a new sandbox is not about the one before it. */
        if (call->method->effect == METHOD_RUN_POD_SANDBOX)
                return;
        entry = call_find_entry(call);
        if (entry)
                podmap_identity(call->calls->podmap, entry, ret);
}

void call_retract(Call *call) {
        if (!call->handle)
                return;
        if (call->handle->young > 0 && call->calls->young[call->handle->young - 1] == call)
                call->calls->young[call->handle->young - 1] = NULL;
        context_retract(&call->calls->context, call->handle);
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;
        if (call->handle && call->handle->young > 0)
                call_retract(call);
        if (call->calls && call->calls->n_calls > 0)
                call->calls->n_calls--;
        if (call->scan)
                cri_fields_clear(&call->scan->item);
        if (call->fields)
                cri_fields_clear(call->fields);
        free(call->scan);
        free(call->fields);
        free(call->handle);
        free(call->end.message);
        free(call->path);
        free(call->tracestate);
        free(call);
        return NULL;
}

void call_record(const Call *call, ContextRecord *ret) {
        const char *operation = method_short(call_name(call));

        memset(ret, 0, sizeof(*ret));
        util_copy_bounded(ret->operation, sizeof(ret->operation), operation, strlen(operation));
        ret->trace = call->context;
        if (tracecontext_valid(&call->parent))
                util_hex_encode(call->parent.span_id, sizeof(call->parent.span_id), ret->parent);
        ret->start_ns = call->start.realtime_ns;
        if (call->timeout_ns > 0 && call->timeout_ns < UINT64_MAX - call->start.realtime_ns)
                ret->deadline_ns = call->start.realtime_ns + call->timeout_ns;
        call_identity(call, &ret->identity);
}
