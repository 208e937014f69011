#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "callcrash.h"
#include "callend.h"
#include "callstart.h"
#include "contextsweep.h"
#include "dirowner.h"
#include "grpcutil.h"

/* Trace context */

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

/* What ended before this call is known to who makes it; a sandbox's start depends on nothing before it. */
static void settle_before(const Call *call) {
        if (call->fields && call->method->effect != METHOD_RUN_POD_SANDBOX)
                callend_settle(call->calls);
}

static TapInject op_inject(Tap *tap _unused_, TapStream *stream, bool final,
                           char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]) {
        Call *call = container_of(stream, Call, stream);

        if (call->has_caller)
                return TAP_INJECT_NO;
        if (!call->has_context && !final && !identity_known(call))
                return TAP_INJECT_WAIT;
        if (!call->has_context)
                settle_before(call);
        if (callstart_context(call) < 0)
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

/* NULL: none, or not as it should be. Without memory the span goes without. */
static char *dup_tracestate(const char *raw) {
        char canonical[TAPHEADERS_TRACESTATE_MAX + 1];

        if (tracecontext_tracestate(raw, strlen(raw), canonical, sizeof(canonical)) <= 0)
                return NULL;
        return strdup(canonical);
}

static void op_unseen(Tap *tap, const TapHeaders *headers) {
        Calls *calls = tap->userdata;

        if (headers->method->class <= METHOD_OTHER)
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_OVERLOAD, 1);
}

static TapStream *op_begin(Tap *tap, uint32_t id _unused_, const TapHeaders *headers) {
        _cleanup_(call_freep) Call *call = NULL;
        Calls *calls = tap->userdata;
        const Method *method = headers->method;
        const char *name = headers->path[0] == '/' ? headers->path + 1 : headers->path;

        if (calls->n_calls >= CALLS_MAX) {
                op_unseen(tap, headers);
                return NULL;
        }
        call = calloc(1, sizeof(*call));
        if (!call) {
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_DROP_NO_MEMORY, 1);
                return NULL;
        }
        call->calls = calls;
        calls->n_calls++;
        call->method = method;
        call->start = calls->now;
        call->timeout_ns = headers->has_timeout ? headers->timeout_ns : 0;
        if (headers->traceparent_valid) {
                call->parent = headers->traceparent;
                call->has_caller = true;
                call->tracestate = dup_tracestate(headers->tracestate);
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

/* Context files */

/* Before the request's last byte goes on: whoever it causes must find the call. */
static void publish(Call *call) {
        Calls *calls = call->calls;
        ContextRecord record;
        int r;

        call_record(call, &record);
        call->handle = malloc(sizeof(*call->handle));
        if (!call->handle)
                return;
        /* Its file can wait only if somebody comes back to it. */
        r = calls->wake ? context_announce(&calls->context, &record, call->handle)
                        : context_publish(&calls->context, &record, call->handle);
        if (r < 0) {
                call->handle = (free(call->handle), NULL);
                return;
        }
        if (call->handle->young == 0)
                return;
        calls->young[call->handle->young - 1] = call;
        if (!calls->showing) {
                calls->showing = true;
                calls->wake(calls, CALLS_YOUNG);
        }
}

uint64_t calls_show(Calls *calls, bool all) {
        uint64_t next_ns = 0;

        calls_set_now(calls);
        for (size_t i = 0; i < ARRAY_SIZE(calls->young); i++) {
                Call *call = calls->young[i];
                uint64_t age_ns;

                if (!call)
                        continue;
                age_ns = calls->now.monotonic_ns - call->start.monotonic_ns;
                if (!all && age_ns < CALLS_YOUNG_NS) {
                        uint64_t left_ns = CALLS_YOUNG_NS - age_ns;

                        next_ns = next_ns == 0 ? left_ns : MIN(next_ns, left_ns);
                        continue;
                }
                /* Without a file it stays where it is found as well. */
                (void) context_show(&calls->context, call->handle);
                calls->young[i] = NULL;
        }
        calls->showing = next_ns > 0;
        return next_ns;
}

static void complete_request(Call *call) {
        if (call->completed)
                return;
        call->completed = true;

        if (call->method->class > METHOD_PROBE)
                return;
        settle_before(call);
        callstart_note(call);
        if (call->method->class == METHOD_OTHER || callstart_context(call) < 0)
                return;
        if (call->calls->n_starts > 0 && (call_field(call, CRI_SANDBOX_ID) || call_field(call, CRI_CONTAINER_ID)))
                callstart_flush(call->calls);

        publish(call);

        if (call->method->effect == METHOD_START_CONTAINER)
                callstart_request(call);
}

/* Messages */

static void on_sandbox(void *userdata, const CriFields *item) {
        (void) podmap_put_sandbox(((Calls *) userdata)->podmap, item);
}

static void on_container(void *userdata, const CriFields *item) {
        (void) podmap_put_container(((Calls *) userdata)->podmap, item);
}

void calls_scan_init(Call *call, bool is_reply, uint64_t len) {
        const PbMessage *message = is_reply ? call->method->reply : call->method->request;
        Calls *calls = call->calls;

        call->scan->active = true;
        if (is_reply && list_of(calls, call->method))
                cri_scan_init(&call->scan->scan, message, len, &call->scan->item, NULL,
                              call->method->effect == METHOD_LIST_SANDBOXES ? on_sandbox : on_container, calls);
        else
                cri_scan_init(&call->scan->scan, message, len, call->fields, &calls->links, NULL, NULL);
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

        calls_scan_init(call, is_reply, msg->left);
}

static void end_message(Call *call, bool is_reply) {
        CallsList *list = list_of(call->calls, call->method);

        if (call->scan && call->scan->active) {
                bool whole = cri_scan_finish(&call->scan->scan) == 0;

                call->scan->active = false;
                /* A number of 0 is not written down, and a grace period of 0 is one. */
                if (!is_reply && whole && call->method->request == &cri_stop_container_request)
                        call->fields->has_timeout = true;
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

void calls_settle(Calls *calls) {
        callend_settle(calls);
        callstart_flush(calls);
}

static void op_end(Tap *tap _unused_, TapStream *stream, TapEnd how, const TapHeaders *headers, uint32_t error) {
        Call *call = container_of(stream, Call, stream);
        Calls *calls = call->calls;
        uint64_t now = calls->now.monotonic_ns;

        call->end = (CallEnd){
                .how = how,
                .duration_ns = now - call->start.monotonic_ns,
                .end_ns = clk_end(&call->start, now),
        };
        call->end.status = callend_status(call, &call->end, headers, error);
        call_retract(call);
        call->slow = call->method->class != METHOD_STREAM && call->end.duration_ns > calls->config->slow_call_ns;

        if (call->method->class >= METHOD_PROBE)
                tally_add(calls->tally, call_name(call), call->end.end_ns, call->end.duration_ns, callend_failed(call),
                          call->slow);
        if (!callend_wants_span(call)) {
                (void) call_free(call);
                return;
        }

        if (headers && headers->message[0])
                call->end.message = strdup(headers->message);
        *calls->ended_tail = call;
        calls->ended_tail = &call->next_ended;
        if (++calls->n_ended >= CALLS_ENDED_MAX)
                callend_settle(calls);
        else if (calls->n_ended == 1 && calls->n_starts == 0 && calls->wake)
                calls->wake(calls, CALLS_ENDED);
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

void calls_reload(Calls *calls) {
        calls->sampler = sampler_make(calls->config->tracing_sampling_rate_per_million);
        cri_links_parse(calls->config->link_annotations, &calls->links);
}

int calls_init(Calls *calls, const Config *config, const char *runtime, int state_fd, CallsWakeFn wake) {
        char refusal[DIROWNER_TEXT_MAX];
        int r;

        *calls = (Calls) CALLS_NULL;
        calls->config = config;
        calls->runtime = runtime;
        calls->state_fd = state_fd;
        calls->ended_tail = &calls->ended;
        calls_set_now(calls);
        calls_reload(calls);

        calls->podmap = podmap_new();
        if (!calls->podmap)
                return -ENOMEM;
        if (state_fd < 0) {
                calls->wake = wake;
                return 0;
        }

        calls->counters = counters_open(state_fd, /* create= */ true);
        calls->tally = tally_open(state_fd, /* create= */ true);

        if (!counters_shared(calls->counters))
                log_warning("STATE/counters cannot be used: what is counted here is seen by nobody");

        r = context_init(&calls->context, state_fd, /* create= */ true, COUNTERS_CRI, calls->counters);
        if (r == -EPERM) {
                context_refusal(&calls->context, state_fd, refusal);
                log_error("No context files: %s", refusal);
        } else if (r < 0)
                (void) log_warning_errno(r, "Cannot use the context directory, ignoring: %m");
        context_use_young(&calls->context);
        r = spool_init(&calls->spool, state_fd, COUNTERS_CRI, calls->counters);
        if (r == -EPERM) {
                counters_add(calls->counters, COUNTERS_CRI, COUNTERS_UNTRUSTED, 1);
                dirowner_text(state_fd, "spool", refusal);
                log_error("No spans: %s", refusal);
        } else if (r < 0)
                (void) log_warning_errno(r, "Cannot use the spool, ignoring: %m");

        callstart_load(calls);
        callcrash_collect(calls);
        calls_flush(calls);
        /* Who is woken may only now be there. */
        calls->wake = wake;
        r = contextsweep_all(&calls->context);
        if (r < 0 && r != -ENOENT)
                (void) log_warning_errno(r, "Cannot sweep the context directory, ignoring: %m");
        return 0;
}

void calls_deinit(Calls *calls) {
        /* Whose timers are gone by now: all that waits is done here. */
        calls->wake = NULL;
        calls_settle(calls);
        calls_flush(calls);
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

        calls_set_now(calls);
        callcrash_collect(calls);
        r = contextsweep_all(&calls->context);
        if (r < 0 && r != -ENOENT && log_ratelimit(&limit))
                (void) log_warning_errno(r, "Cannot sweep the context directory, ignoring: %m");
}
