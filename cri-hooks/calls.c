#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "callspan.h"
#include "calls.h"
#include "grpcutil.h"

const char *call_name(const Call *call) {
        return call->path ? call->path : call->method->name ? call->method->name : "_OTHER";
}

static const char *field(const Call *call, CriString string) {
        return call->fields ? call->fields->s[string] : NULL;
}

/* The entry of what the call is about: its container, else its sandbox, else the pod's newest sandbox. */
static PodmapEntry *find_entry(const Call *call) {
        Podmap *map = call->calls->podmap;
        PodmapEntry *entry;

        entry = podmap_find(map, field(call, CRI_CONTAINER_ID));
        if (!entry)
                entry = podmap_find(map, field(call, CRI_SANDBOX_ID));
        if (!entry)
                entry = podmap_find_pod(map, field(call, CRI_POD_UID));
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
        entry = find_entry(call);
        if (entry)
                podmap_identity(call->calls->podmap, entry, ret);
}

/* Trace context */

/* The sandbox whose start this call is part of, or NULL. */
static PodmapEntry *start_of(const Call *call) {
        Podmap *map = call->calls->podmap;
        PodmapEntry *sandbox = NULL, *container;

        if (!call->fields)
                return NULL;

        switch (call->method->effect) {
        case METHOD_PULL_IMAGE:
                sandbox = podmap_find_pod(map, field(call, CRI_POD_UID));
                if (sandbox && call->fields->sandbox_attempt != sandbox->attempt)
                        return NULL;
                break;
        case METHOD_CREATE_CONTAINER:
                if (call->fields->container_attempt == 0)
                        sandbox = podmap_find(map, field(call, CRI_SANDBOX_ID));
                break;
        case METHOD_START_CONTAINER:
                container = podmap_find(map, field(call, CRI_CONTAINER_ID));
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

/* Gives the call its own context, once. */
static int ensure_context(Call *call) {
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

bool calls_may_inject(const Calls *calls) {
        /* Without a caller's trace only our own decision counts; at rate 0 it is always no. */
        return calls->config->inject_traceparent && (calls->sampler.always || calls->sampler.bound > 0);
}

static bool identity_known(const Call *call) {
        if (call->completed || !call->scan || !call->fields)
                return true;
        switch (call->method->effect) {
        case METHOD_PULL_IMAGE:
                return call->fields->sandbox_metadata;
        case METHOD_CREATE_CONTAINER:
                return call->fields->s[CRI_SANDBOX_ID] && call->fields->container_metadata;
        case METHOD_START_CONTAINER:
                return call->fields->s[CRI_CONTAINER_ID];
        default:
                return true;
        }
}

static TapInject op_inject(Tap *tap _unused_, TapStream *stream, bool final,
                           char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]) {
        Call *call = container_of(stream, Call, stream);

        if (call->has_caller)
                return TAP_INJECT_NO;
        if (!call->has_context && !final && !identity_known(call))
                return TAP_INJECT_WAIT;
        if (ensure_context(call) < 0)
                return TAP_INJECT_NO;
        /* Joined to a start that a caller's decision recorded, this call is still only ours to sample. */
        if (!(call->context.flags & TRACECONTEXT_SAMPLED) ||
            !sampler_decide(&call->calls->sampler, call->context.trace_id))
                return TAP_INJECT_NO;

        tracecontext_format(&call->context, ret);
        return TAP_INJECT_YES;
}

static void op_injected(Tap *tap _unused_, TapStream *stream) {
        Call *call = container_of(stream, Call, stream);

        counters_add(call->calls->counters, COUNTERS_CRI, COUNTERS_CRI_INJECTED, 1);
}

/* Begin */

static CallsList *list_of(Calls *calls, const Method *method) {
        switch (method->effect) {
        case METHOD_LIST_SANDBOXES:
                return &calls->sandboxes;
        case METHOD_LIST_CONTAINERS:
                return &calls->containers;
        default:
                return NULL;
        }
}

/* Reading a List reply of thousands costs; what it says is mostly known. */
static bool wants_reply(Calls *calls, const Method *method, uint64_t now_ns) {
        const CallsList *list = list_of(calls, method);

        if (!list)
                return method->reply;
        return list->wanted || list->read_ns == 0 || now_ns - list->read_ns >= CALLS_LIST_NS;
}

static Call *call_free(Call *call) {
        if (!call)
                return NULL;
        if (call->scan)
                cri_fields_clear(&call->scan->item);
        if (call->fields)
                cri_fields_clear(call->fields);
        free(call->scan);
        free(call->fields);
        free(call->handle);
        free(call->path);
        free(call);
        return NULL;
}
DEFINE_CLEANUP(Call *, call_free);

static TapStream *op_begin(Tap *tap, uint32_t id _unused_, const TapHeaders *headers) {
        _cleanup_(call_freep) Call *call = NULL;
        Calls *calls = tap->userdata;
        const Method *method = headers->method;
        const char *name = headers->path[0] == '/' ? headers->path + 1 : headers->path;

        call = calloc(1, sizeof(*call));
        if (!call) {
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
                return NULL;
        }
        call->calls = calls;
        call->method = method;
        call->start = calls->now;
        call->timeout_ns = headers->has_timeout ? headers->timeout_ns : 0;
        if (headers->traceparent_valid) {
                call->parent = headers->traceparent;
                call->has_caller = true;
        }

        if (!method->name || strcmp(method->name, name) != 0) {
                call->path = strdup(name);
                if (!call->path) {
                        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
                        return NULL;
                }
        }

        call->stream.want_reply =
                method->reply ? wants_reply(calls, method, call->start.monotonic_ns) : method->class <= METHOD_PROBE;
        call->stream.want_request =
                method->request || method->class <= METHOD_PROBE || (call->stream.want_reply && list_of(calls, method));

        if (method->request || (method->reply && call->stream.want_reply)) {
                call->fields = calloc(1, sizeof(*call->fields));
                call->scan = calloc(1, sizeof(*call->scan));
                /* Without memory the call is followed, only not whose it is. */
                if (!call->fields || !call->scan) {
                        call->fields = (free(call->fields), NULL);
                        call->scan = (free(call->scan), NULL);
                }
        }

        return &TAKE_PTR(call)->stream;
}

static void op_unseen(Tap *tap, const TapHeaders *headers) {
        Calls *calls = tap->userdata;

        if (headers->method->class <= METHOD_OTHER)
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_OVERLOAD, 1);
}

/* Context files */

static void make_record(const Call *call, ContextRecord *ret) {
        const char *operation = method_short(call_name(call));

        memset(ret, 0, sizeof(*ret));
        util_copy_bounded(ret->operation, sizeof(ret->operation), operation, strlen(operation));
        ret->trace = call->context;
        ret->start_ns = call->start.realtime_ns;
        if (call->timeout_ns > 0 && call->timeout_ns < UINT64_MAX - call->start.realtime_ns)
                ret->deadline_ns = call->start.realtime_ns + call->timeout_ns;
        call_identity(call, &ret->identity);
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

void calls_flush_starts(Calls *calls) {
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
                calls_flush_starts(calls);
        calls->starts[calls->n_starts] = strdup(id);
        if (!calls->starts[calls->n_starts])
                return;
        if (++calls->n_starts == 1 && calls->wake)
                calls->wake(calls, CALLS_STARTS);
}

/* Before the request's last byte goes on: whoever it causes must find the call. */
static void publish(Call *call) {
        ContextRecord record;

        make_record(call, &record);
        call->handle = malloc(sizeof(*call->handle));
        if (!call->handle)
                return;
        if (context_publish(&call->calls->context, &record, call->handle) < 0)
                call->handle = (free(call->handle), NULL);
}

/* Remembers the start of what the call is about, before the call itself changes it. */
static void note_start(Call *call) {
        PodmapEntry *entry, *sandbox;

        if (!call->fields || call->method->effect == METHOD_RUN_POD_SANDBOX)
                return;

        entry = find_entry(call);
        if (!entry) {
                if (field(call, CRI_CONTAINER_ID) || field(call, CRI_SANDBOX_ID)) {
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

static void complete_request(Call *call) {
        PodmapEntry *entry;

        if (call->completed)
                return;
        call->completed = true;

        if (call->method->class > METHOD_PROBE)
                return;
        note_start(call);
        if (call->method->class == METHOD_OTHER || ensure_context(call) < 0)
                return;
        if (call->calls->n_starts > 0 && (field(call, CRI_SANDBOX_ID) || field(call, CRI_CONTAINER_ID)))
                calls_flush_starts(call->calls);

        publish(call);

        if (call->method->effect == METHOD_START_CONTAINER && call->fields) {
                entry = podmap_put_container(call->calls->podmap, call->fields);
                if (entry) {
                        entry->start_called = true;
                        set_start(call, entry);
                }
        }
}

/* Messages */

static void on_sandbox(void *userdata, const CriFields *item) {
        (void) podmap_put_sandbox(((Calls *) userdata)->podmap, item);
}

static void on_container(void *userdata, const CriFields *item) {
        (void) podmap_put_container(((Calls *) userdata)->podmap, item);
}

static void begin_message(Call *call, bool is_reply) {
        const PbMessage *message = is_reply ? call->method->reply : call->method->request;
        const GrpcMsg *msg = is_reply ? &call->reply : &call->request;
        Calls *calls = call->calls;

        if (!message || !call->scan)
                return;
        if (msg->prefix[0] == 1) {
                if (!call->compressed)
                        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_CRI_COMPRESSED, 1);
                call->compressed = true;
                return;
        }

        call->scan->active = true;
        if (is_reply && list_of(calls, call->method))
                cri_scan_init(&call->scan->scan, message, msg->left, &call->scan->item, NULL,
                              call->method->effect == METHOD_LIST_SANDBOXES ? on_sandbox : on_container, calls);
        else
                cri_scan_init(&call->scan->scan, message, msg->left, call->fields, &calls->links, NULL, NULL);
}

static void end_message(Call *call, bool is_reply) {
        CallsList *list = list_of(call->calls, call->method);

        if (call->scan && call->scan->active) {
                bool whole = cri_scan_finish(&call->scan->scan) == 0;

                call->scan->active = false;
                /*
                 * A filtered list answers a question, it does not say what there is. Kubelet asks for all containers
                 * with a filter that is there and empty: two bytes, in which no condition has room.
                 */
                if (is_reply && list && whole && call->request.n_bytes <= 2) {
                        list->read_ns = call->calls->now.monotonic_ns;
                        list->wanted = false;
                }
        }
        if (!is_reply)
                complete_request(call);
}

static void read_messages(Call *call, bool is_reply, const uint8_t *data, size_t len) {
        GrpcMsg *msg = is_reply ? &call->reply : &call->request;
        bool *want = is_reply ? &call->stream.want_reply : &call->stream.want_request;

        for (;;) {
                const uint8_t *chunk;
                size_t n;

                switch (grpcmsg_next(msg, &data, &len, &chunk, &n)) {
                case GRPCMSG_NONE:
                        return;
                case GRPCMSG_BEGIN:
                        begin_message(call, is_reply);
                        break;
                case GRPCMSG_CHUNK:
                        if (call->scan && call->scan->active)
                                (void) cri_scan_feed(&call->scan->scan, chunk, n);
                        break;
                case GRPCMSG_END:
                        end_message(call, is_reply);
                        break;
                default:
                        /* No gRPC: nothing in it is looked at any more. */
                        *want = false;
                        if (call->scan)
                                call->scan->active = false;
                        return;
                }
        }
}

static void op_request_data(Tap *tap _unused_, TapStream *stream, const uint8_t *data, size_t len) {
        read_messages(container_of(stream, Call, stream), false, data, len);
}

static void op_reply_data(Tap *tap _unused_, TapStream *stream, const uint8_t *data, size_t len) {
        Call *call = container_of(stream, Call, stream);

        /* A reply before the end of the request: what the request still says comes too late. */
        if (!call->completed) {
                call->stream.want_request = false;
                if (call->scan)
                        call->scan->active = false;
                complete_request(call);
        }
        read_messages(call, true, data, len);
}

static void op_request_end(Tap *tap _unused_, TapStream *stream) {
        complete_request(container_of(stream, Call, stream));
}

/* End */

static void forget_start(const char *id, void *userdata) {
        (void) context_remove(&((Calls *) userdata)->context, CONTEXT_START, id);
}

/* What a call that succeeded means for the calls after it. */
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
                entry->start_ns = calls->now.realtime_ns;
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
                entry = podmap_find(calls->podmap, field(call, CRI_CONTAINER_ID));
                if (entry && entry->is_container)
                        entry->started = true;
                break;
        case METHOD_REMOVE_CONTAINER:
                if (field(call, CRI_CONTAINER_ID)) {
                        podmap_remove(calls->podmap, field(call, CRI_CONTAINER_ID));
                        forget_start(field(call, CRI_CONTAINER_ID), calls);
                }
                break;
        case METHOD_REMOVE_POD_SANDBOX:
                podmap_remove_sandbox(calls->podmap, field(call, CRI_SANDBOX_ID), forget_start, calls);
                break;
        default:
                break;
        }
}

static int end_status(const Call *call, const CallEnd *end, const TapHeaders *headers, uint32_t error) {
        bool late = call->timeout_ns > 0 && end->duration_ns + CALLS_DEADLINE_NS >= call->timeout_ns;

        switch (end->how) {
        case TAP_END_TRAILERS:
                if (headers && headers->grpc_status >= 0)
                        return headers->grpc_status;
                if (headers && headers->http_status != 0 && headers->http_status != 200)
                        return grpc_status_from_http(headers->http_status);
                return GRPC_UNKNOWN;
        case TAP_END_RESET_BY_CLIENT:
        case TAP_END_CONNECTION_CLIENT:
                return late ? GRPC_DEADLINE_EXCEEDED : GRPC_CANCELLED;
        case TAP_END_RESET_BY_RUNTIME:
                return grpc_status_from_h2(error);
        case TAP_END_GOAWAY:
        case TAP_END_CONNECTION_RUNTIME:
        case TAP_END_SHUTDOWN:
                return GRPC_UNAVAILABLE;
        default:
                return -1;
        }
}

/* Is this end of a poll, probe or stream nothing to speak of? */
static bool is_normal(const Method *method, int status) {
        switch (status) {
        case GRPC_OK:
        case GRPC_CANCELLED: /* the client lost interest before its deadline */
        case -1:
                return true;
        case GRPC_NOT_FOUND:
                return method->not_found_is_normal;
        case GRPC_UNIMPLEMENTED: /* kubelet tries what a runtime may not have */
                return method->class != METHOD_PROBE;
        default:
                return false;
        }
}

static bool wants_span(const Call *call, int status, bool slow) {
        return call->method->class <= METHOD_OTHER || slow || !is_normal(call->method, status);
}

static void queue_span(Calls *calls, Span *span) {
        if (calls->n_spans == CALLS_SPANS_MAX)
                calls_flush(calls);
        calls->spans[calls->n_spans++] = span;
        if (calls->n_spans == 1 && calls->wake)
                calls->wake(calls, CALLS_SPANS);
}

static void op_end(Tap *tap _unused_, TapStream *stream, TapEnd how, const TapHeaders *headers, uint32_t error) {
        _cleanup_(call_freep) Call *call = container_of(stream, Call, stream);
        Calls *calls = call->calls;
        uint64_t now = calls->now.monotonic_ns;
        CallEnd end = {
                .how = how,
                .duration_ns = now - call->start.monotonic_ns,
                .end_ns = clk_end(&call->start, now),
                .message = headers ? headers->message : NULL,
        };
        Span *span;
        bool slow;

        end.status = end_status(call, &end, headers, error);
        slow = call->method->class != METHOD_STREAM && end.duration_ns > calls->config->slow_call_ns;

        if (call->handle)
                context_retract(&calls->context, call->handle);

        if (call->method->class >= METHOD_PROBE)
                tally_add(calls->tally, call_name(call), end.end_ns, end.duration_ns, end.status != GRPC_OK, slow);

        if (wants_span(call, end.status, slow) && spool_wanted(&calls->spool, calls->state_fd)) {
                if (call->method->class > METHOD_PROBE)
                        note_start(call);
                if (ensure_context(call) < 0 || callspan_make(call, &end, &span) < 0)
                        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
                else
                        queue_span(calls, span);
        }

        if (call->joined) {
                PodmapEntry *sandbox = start_of(call);

                if (sandbox)
                        sandbox->start_ns = end.end_ns;
        }
        /* After the span: Remove* forgets whose it was. */
        if (end.status == GRPC_OK)
                learn(call);
}

static void op_plain(Tap *tap, int error) {
        static LogRatelimit limit = LOG_RATELIMIT(60, 5);
        Calls *calls = tap->userdata;

        counters_add(calls->counters, COUNTERS_CRI, COUNTERS_CRI_PLAIN, 1);
        if (log_ratelimit(&limit))
                (void) log_full(LOG_LEVEL_NOTICE, error,
                                "A connection is forwarded without a look at it from here on: %m");
}

const TapOps calls_tap_ops = {
        .begin = op_begin,
        .unseen = op_unseen,
        .inject = op_inject,
        .injected = op_injected,
        .request_data = op_request_data,
        .request_end = op_request_end,
        .reply_data = op_reply_data,
        .end = op_end,
        .plain = op_plain,
};

/* Set-up */

static int on_start_file(const char *name _unused_, const ContextRecord *record, void *userdata) {
        Calls *calls = userdata;
        const Identity *identity = &record->identity;
        CriFields fields = {
                .s = {
                        [CRI_POD_UID] = identity->pod_uid[0] ? (char *) identity->pod_uid : NULL,
                        [CRI_POD_NAME] = identity->pod_name[0] ? (char *) identity->pod_name : NULL,
                        [CRI_POD_NAMESPACE] = identity->pod_namespace[0] ? (char *) identity->pod_namespace : NULL,
                        [CRI_SANDBOX_ID] = identity->sandbox_id[0] ? (char *) identity->sandbox_id : NULL,
                        [CRI_CONTAINER_ID] = identity->container_id[0] ? (char *) identity->container_id : NULL,
                        [CRI_CONTAINER_NAME] = identity->container_name[0] ? (char *) identity->container_name : NULL,
                        [CRI_IMAGE] = identity->image[0] ? (char *) identity->image : NULL,
                        [CRI_RUNTIME_HANDLER] = identity->runtime_handler[0] ? (char *) identity->runtime_handler
                                                                             : NULL,
                },
                .sandbox_attempt = identity->sandbox_attempt,
                .sandbox_metadata = identity->sandbox_attempt_known,
                .container_attempt = identity->container_attempt,
                .container_metadata = identity->container_attempt_known,
        };
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

int calls_init(Calls *calls, const Config *config, const char *runtime, int state_fd, CallsWakeFn wake) {
        int r;

        *calls = (Calls) CALLS_NULL;
        calls->config = config;
        calls->runtime = runtime;
        calls->state_fd = state_fd;
        calls->wake = wake;
        calls_set_now(calls);
        calls->sampler = sampler_make(config->tracing_sampling_rate_per_million);
        cri_links_parse(config->link_annotations, &calls->links);

        calls->podmap = podmap_new();
        if (!calls->podmap)
                return -ENOMEM;
        if (state_fd < 0)
                return 0;

        calls->counters = counters_open(state_fd, /* create= */ true);
        calls->tally = tally_open(state_fd, /* create= */ true);

        r = context_init(&calls->context, state_fd, /* create= */ true, COUNTERS_CRI, calls->counters);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot use the context directory, ignoring: %m");
        r = spool_init(&calls->spool, state_fd, COUNTERS_CRI, calls->counters);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot use the spool, ignoring: %m");

        r = context_sweep(&calls->context);
        if (r < 0 && r != -ENOENT)
                (void) log_warning_errno(r, "Cannot sweep the context directory, ignoring: %m");
        (void) context_list(&calls->context, CONTEXT_START, on_start_file, calls);
        return 0;
}

void calls_deinit(Calls *calls) {
        calls_flush(calls);
        calls_flush_starts(calls);
        spool_deinit(&calls->spool);
        context_deinit(&calls->context);
        calls->tally = tally_free(calls->tally);
        calls->counters = counters_free(calls->counters);
        calls->podmap = podmap_free(calls->podmap);
}

void calls_flush(Calls *calls) {
        if (calls->n_spans == 0)
                return;

        /* What cannot be written has been counted. */
        (void) spool_write(&calls->spool, CALLS_SERVICE, calls->spans, calls->n_spans);
        for (unsigned i = 0; i < calls->n_spans; i++)
                calls->spans[i] = span_free(calls->spans[i]);
        calls->n_spans = 0;
}

void calls_tick(Calls *calls) {
        static LogRatelimit limit = LOG_RATELIMIT(3600, 1);
        int r;

        r = context_sweep(&calls->context);
        if (r < 0 && r != -ENOENT && log_ratelimit(&limit))
                (void) log_warning_errno(r, "Cannot sweep the context directory, ignoring: %m");
}
