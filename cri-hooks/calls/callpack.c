#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "callpack.h"
#include "callstart.h"

static void write_msg(const GrpcMsg *msg, Pack *pack) {
        pack_number(pack, msg->n_bytes);
        pack_number(pack, msg->n_messages);
        pack_number(pack, msg->left);
        pack_bytes(pack, msg->prefix, msg->n_prefix);
        pack_number(pack, msg->compressed);
}

static void read_msg(Unpack *unpack, GrpcMsg *ret) {
        const uint8_t *prefix;
        size_t n;

        ret->n_bytes = unpack_number(unpack, UINT64_MAX);
        ret->n_messages = (uint32_t) unpack_number(unpack, UINT32_MAX);
        ret->left = (uint32_t) unpack_number(unpack, UINT32_MAX);
        prefix = unpack_bytes(unpack, sizeof(ret->prefix), &n);
        memcpy(ret->prefix, prefix, n);
        ret->n_prefix = (uint8_t) n;
        ret->compressed = unpack_bool(unpack);
}

void callpack_write(const TapStream *stream, Pack *pack) {
        const Call *call = container_of(stream, Call, stream);
        bool scanning = call->scan && call->scan->active;

        pack_string(pack, call_name(call));
        pack_number(pack, call->start.realtime_ns);
        pack_number(pack, call->start.monotonic_ns);
        pack_number(pack, call->timeout_ns);
        pack_string(pack, call->tracestate);
        pack_fixed(pack, &call->parent, sizeof(call->parent));
        pack_fixed(pack, &call->context, sizeof(call->context));
        pack_fixed(pack, &call->start_link, sizeof(call->start_link));
        pack_number(pack, call->has_caller);
        pack_number(pack, call->has_context);
        pack_number(pack, call->completed);
        pack_number(pack, call->joined);
        pack_number(pack, call->compressed);
        write_msg(&call->request, pack);
        write_msg(&call->reply, pack);
        pack_string(pack, call->handle ? call->handle->name : NULL);

        pack_number(pack, call->fields != NULL);
        if (call->fields) {
                cri_fields_pack(call->fields, pack);
                cri_fields_pack(&call->scan->item, pack);
        }
        pack_number(pack, !scanning ? 0 : call->scan->scan.pb.stack[0].message == call->method->reply ? 2 : 1);
        if (scanning)
                cri_scan_pack(&call->scan->scan, pack);
}

static void read_method(Unpack *unpack, Call *ret) {
        char name[METHOD_PATH_MAX + 2] = "/";

        unpack_text(unpack, name + 1, sizeof(name) - 1);
        ret->method = method_find(name, strlen(name));
        if (ret->method->name && strcmp(ret->method->name, name + 1) == 0)
                return;
        ret->path = strdup(name + 1);
        if (!ret->path) {
                unpack->no_memory = true;
                (void) unpack_fail(unpack);
        }
}

static void read_handle(Unpack *unpack, Call *ret) {
        ContextHandle handle = {};

        unpack_text(unpack, handle.name, sizeof(handle.name));
        if (!handle.name[0])
                return;
        if (strchr(handle.name, '/') || !contextmatch_version_known(handle.name)) {
                (void) unpack_fail(unpack);
                return;
        }
        /* Without memory it is swept one day. */
        ret->handle = malloc(sizeof(*ret->handle));
        if (ret->handle)
                *ret->handle = handle;
}

/* How far its messages are read. */
static int read_scan(Unpack *unpack, Call *ret) {
        uint64_t which;

        if (unpack_bool(unpack)) {
                ret->fields = calloc(1, sizeof(*ret->fields));
                ret->scan = calloc(1, sizeof(*ret->scan));
                if (!ret->fields || !ret->scan)
                        return -ENOMEM;
                cri_fields_unpack(unpack, ret->fields);
                cri_fields_unpack(unpack, &ret->scan->item);
        }
        which = unpack_number(unpack, 2);
        if (which == 0)
                return unpack_result(unpack);
        if (!ret->scan || !(which == 2 ? ret->method->reply : ret->method->request))
                return unpack_fail(unpack);
        calls_scan_init(ret, which == 2, 0);
        return cri_scan_unpack(&ret->scan->scan, unpack);
}

TapStream *callpack_read(Tap *tap, Unpack *unpack) {
        _cleanup_(call_freep) Call *call = NULL;
        int r;

        call = calloc(1, sizeof(*call));
        if (!call) {
                unpack->no_memory = true;
                (void) unpack_fail(unpack);
                return NULL;
        }
        call->calls = tap->userdata;
        call->calls->n_calls++;
        read_method(unpack, call);
        call->start.realtime_ns = unpack_number(unpack, UINT64_MAX);
        call->start.monotonic_ns = unpack_number(unpack, UINT64_MAX);
        call->timeout_ns = unpack_number(unpack, UINT64_MAX);
        call->tracestate = unpack_string(unpack, TAPHEADERS_TRACESTATE_MAX);
        unpack_fixed(unpack, &call->parent, sizeof(call->parent));
        unpack_fixed(unpack, &call->context, sizeof(call->context));
        unpack_fixed(unpack, &call->start_link, sizeof(call->start_link));
        call->has_caller = unpack_bool(unpack);
        call->has_context = unpack_bool(unpack);
        call->completed = unpack_bool(unpack);
        call->joined = unpack_bool(unpack);
        call->compressed = unpack_bool(unpack);
        read_msg(unpack, &call->request);
        read_msg(unpack, &call->reply);
        read_handle(unpack, call);
        r = read_scan(unpack, call);
        if (r < 0) {
                unpack->no_memory = unpack->no_memory || r == -ENOMEM;
                (void) unpack_fail(unpack);
                return NULL;
        }
        return &TAKE_PTR(call)->stream;
}

void callpack_adopt(TapStream *stream) {
        Call *call = container_of(stream, Call, stream);
        ContextRecord record;

        if (!call->handle)
                return;
        call_record(call, &record);
        if (context_adopt(&call->calls->context, &record, call->handle) < 0)
                call->handle = (free(call->handle), NULL);
}

void callpack_drop(TapStream *stream) {
        (void) call_free(container_of(stream, Call, stream));
}

static void write_list(const CallsList *list, Pack *pack) {
        pack_number(pack, list->read_ns);
        pack_number(pack, list->wanted);
}

static void read_list(Unpack *unpack, CallsList *ret) {
        ret->read_ns = unpack_number(unpack, UINT64_MAX);
        ret->wanted = unpack_bool(unpack);
}

void callpack_write_calls(const Calls *calls, Pack *pack) {
        write_list(&calls->sandboxes, pack);
        write_list(&calls->containers, pack);
        podmap_pack(calls->podmap, pack);
}

int callpack_read_calls(Calls *calls, Unpack *unpack) {
        Podmap *map;
        int r;

        read_list(unpack, &calls->sandboxes);
        read_list(unpack, &calls->containers);
        map = podmap_new();
        if (!map)
                return -ENOMEM;
        r = podmap_unpack(map, unpack);

        /* It knows more than the start files, as far as it could be read. */
        (void) podmap_free(calls->podmap);
        calls->podmap = map;
        return r;
}
