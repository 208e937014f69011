#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "envcarrier.h"
#include "exitstatus.h"
#include "runtimelog.h"
#include "semconv.h"
#include "trace.h"

#define NEVER_RAN "The runtime's process ended before it executed the program"

static bool open_session(Trace *trace) {
        if (trace->open)
                return true;
        trace->open = session_init(&trace->session, trace->options.producer, trace->options.service, NULL, NULL) > 0;
        if (trace->session.config_error)
                log_warning("%s: using the defaults", trace->session.config_error);
        if (trace->session.refusal)
                log_warning("%s", trace->session.refusal);
        if (!trace->open)
                session_deinit(&trace->session);
        return trace->open;
}

static void close_session(Trace *trace) {
        if (trace->open)
                session_deinit(&trace->session);
        trace->open = false;
}

bool trace_init(Trace *trace, const TraceOptions *options) {
        const RuntimeArgs *runtime = options->runtime;

        assert(trace);

        *trace = (Trace) TRACE_NULL;
        trace->options = *options;
        if (!open_session(trace))
                return false;

        trace->record_error_message = trace->session.config.record_error_message;
        trace->start_window_ns = trace->session.config.start_window_ns;
        trace->slow_call_ns = trace->session.config.slow_call_ns;
        if (cause_find(&trace->session, runtime->verb, runtime->id, runtime->bundle, options->envp, clk_realtime(),
                       &trace->cause) < 0 ||
            tracecontext_new_child(&trace->cause.parent, &trace->runtime) < 0) {
                close_session(trace);
                return false;
        }

        trace->on = true;
        return true;
}

void trace_deinit(Trace *trace) {
        for (size_t i = 0; i < trace->n_spans; i++)
                trace->spans[i] = span_free(trace->spans[i]);
        trace->n_spans = 0;
        close_session(trace);
        trace->on = false;
}

char **trace_environment(const Trace *trace) {
        char **environment;

        if (!trace->on ||
            envcarrier_child(trace->options.envp, &trace->runtime, trace->cause.tracestate, &environment) < 0)
                return NULL;
        return environment;
}

static const char *file_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* A span of ours in @context (NULL: a new child of @parent), to be written later; NULL without memory or room. */
static Span *add_span(Trace *trace, const char *name, const TraceContext *context, const TraceContext *parent) {
        const Cause *cause = &trace->cause;
        TraceContext child;
        Span *span;

        if (trace->n_spans == TRACE_SPANS_MAX) {
                trace->n_dropped++;
                return NULL;
        }
        if (!context) {
                if (tracecontext_new_child(parent, &child) < 0)
                        return NULL;
                context = &child;
        }
        if (span_new(name, SPAN_KIND_INTERNAL, context, parent, &span) < 0) {
                trace->n_dropped++;
                return NULL;
        }

        if (tracecontext_has_span(parent))
                span_set_parent_remote(span,
                                       memcmp(parent->span_id, cause->parent.span_id, sizeof(parent->span_id)) == 0);
        if (cause->source == CAUSE_ENVIRONMENT)
                span_set_tracestate(span, cause->tracestate);
        span_set_identity(span, &cause->identity);
        span_attr_str(span, "container.id", trace->options.runtime->id);
        span_attr_str(span, "container.runtime.name", cause->manager);
        trace->spans[trace->n_spans++] = span;
        return span;
}

/* When @at was by the clock that @now has. */
static uint64_t time_of(const Clk *at, const Clk *now) {
        return now->realtime_ns - (now->monotonic_ns - at->monotonic_ns);
}

/* Something that lasted from @start to @end, of which the end has just been: a clock set meanwhile moves the span. */
static void set_time(Span *span, const Clk *start, const Clk *end) {
        span_set_time(span, time_of(start, end), end->realtime_ns);
}

static void set_failed(Span *span, const char *type, const char *text) {
        span_attr_str(span, "error.type", type);
        span_set_status(span, SPAN_STATUS_ERROR, text);
}

/* There is no container: the span of what failed is that of its end. */
static void set_start_failed(const Trace *trace, Span *span, const char *text) {
        VerdictFacts facts = VERDICT_FACTS_NONE;
        VerdictDecision decision;

        if (trace->options.runtime->verb == RUNTIME_EXEC)
                return;
        facts.start_failure = text ?: "";
        decision = verdict_decide(&facts);
        verdict_set(span, &facts, &decision);
}

/* @call: in flight at the end, NULL: none. */
static void set_verdict(const Trace *trace, Span *span, const Monitor *monitor, const MonitorEnd *end,
                        const ContextRecord *call) {
        VerdictFacts facts = monitor->facts;
        VerdictDecision decision;

        facts.ended_ns = end->at.realtime_ns;
        facts.exact = true;
        facts.exit_code = end->code;
        facts.signal = end->signal;
        facts.oom_ended = end->oom;
        facts.in_pod = trace->cause.identity.pod_uid[0] != '\0';
        if (end->never_ran && end->signal == 0)
                facts.start_failure = NEVER_RAN;
        /* That none is in flight does not mean that nobody asked: an engine does it without a call. */
        if (call)
                verdict_add_stop(&facts, verdict_stop_method(call->operation), call->start_ns, /* grace_ms= */ -1);
        decision = verdict_decide(&facts);
        verdict_set(span, &facts, &decision);
}

void trace_runtime_called(Trace *trace, pid_t pid) {
        if (!trace->on)
                return;
        trace->called = clk_now();
        trace->runtime_pid = pid;
}

/* The last bytes of the file the runtime logs to. */
static size_t read_runtime_log(const RuntimeArgs *runtime, char ret[static RUNTIMELOG_MAX]) {
        const char *path = runtimelog_path(runtime->globals, runtime->n_globals);
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        ssize_t n;

        fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC) : -EBADF;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        n = pread(fd, ret, RUNTIMELOG_MAX, MAX(st.st_size - (off_t) RUNTIMELOG_MAX, (off_t) 0));
        return n > 0 ? (size_t) n : 0;
}

/* Why the runtime failed: from its log file, else from what it said. */
static const char *runtime_message(const Trace *trace, const char *words, size_t len,
                                   char message[static RUNTIMELOG_TEXT_MAX + 1]) {
        char log[RUNTIMELOG_MAX];
        size_t n;

        if (!trace->record_error_message)
                return NULL;
        n = read_runtime_log(trace->options.runtime, log);
        if (n > 0 && runtimelog_message(log, n, message) > 0)
                return message;
        return runtimelog_message(words, len, message) > 0 ? message : NULL;
}

/* What comes before the runtime is called, by the names podspan-watch has for it with other monitors. */
static void add_set_up(Trace *trace, const Clk *at) {
        const uint64_t zero = at->realtime_ns - at->monotonic_ns; /* one clock for all that lies in one another */
        const TraceOptions *options = &trace->options;
        Span *span, *wait;

        if (options->runtime->verb == RUNTIME_EXEC)
                return;
        span = add_span(trace, "monitor set-up", NULL, &trace->cause.parent);
        if (!span)
                return;
        span_set_time(span, zero + options->began.monotonic_ns, zero + trace->called.monotonic_ns);
        span_attr_int(span, "process.pid", getpid());

        wait = add_span(trace, "wait for the engine", NULL, span_context(span));
        if (wait)
                span_set_time(wait, zero + options->began.monotonic_ns, zero + options->admitted.monotonic_ns);
}

void trace_set_up_failed(Trace *trace, const char *text) {
        Clk now = clk_now();
        Span *span;

        if (!trace->on)
                return;
        trace->probe = false;
        span = add_span(trace, "monitor set-up", NULL, &trace->cause.parent);
        if (!span)
                return;
        set_time(span, &trace->options.began, &now);
        spanlinks_set(&trace->cause.links, &trace->cause.parent, span);
        span_attr_int(span, "process.pid", getpid());
        text = trace->record_error_message ? text : NULL;
        set_failed(span, "set_up", text);
        set_start_failed(trace, span, text);
}

void trace_runtime_ended(Trace *trace, int status, const Clk *at, bool failed, const char *words, size_t len) {
        const RuntimeArgs *runtime = trace->options.runtime;
        char name[128], message[RUNTIMELOG_TEXT_MAX + 1];
        const char *text = NULL;
        Span *span;

        if (!trace->on)
                return;
        if (failed)
                trace->probe = false;

        add_set_up(trace, at);
        (void) snprintf(name, sizeof(name), "%.100s %s", file_name(runtime->runtime), runtimeargs_verb(runtime->verb));
        span = add_span(trace, name, &trace->runtime, &trace->cause.parent);
        if (!span)
                return;

        set_time(span, &trace->called, at);
        spanlinks_set(&trace->cause.links, &trace->cause.parent, span);
        span_attr_str(span, "process.executable.name", file_name(runtime->runtime));
        span_attr_int(span, "process.pid", trace->runtime_pid);
        span_attr_str(span, "podspan.oci.bundle", runtime->bundle);
        if (failed)
                text = runtime_message(trace, words, len, message);
        exitstatus_set_wait(span, status, text);
        if (failed && status == 0)
                set_failed(span, "no_container", text);
        if (failed)
                set_start_failed(trace, span, text);
}

void trace_created(Trace *trace, pid_t pid) {
        if (!trace->on)
                return;
        trace->created = clk_now();
        trace->container_pid = pid;
}

/* Where a span that ends now belongs: with the start, or by itself and linked to it. */
static bool late(const Trace *trace, const Clk *now) {
        return now->monotonic_ns - trace->called.monotonic_ns > trace->start_window_ns;
}

static Span *add_later(Trace *trace, const char *name, const Clk *start, const Clk *end) {
        TraceContext parent = trace->cause.parent;
        bool own = late(trace, end);
        Span *span;

        if (own && (!open_session(trace) || sampler_new_root(&trace->session.sampler, &parent) < 0))
                return NULL;

        span = add_span(trace, name, NULL, &parent);
        if (!span)
                return NULL;
        set_time(span, start, end);
        if (own)
                span_link(span, &trace->runtime, "start");
        return span;
}

void trace_attached(Trace *trace, const AttachRecord *record) {
        Clk end;
        Span *span;

        if (!trace->on)
                return;

        end = clk_now();
        span = add_later(trace, SEMCONV_SPAN_ATTACH, &record->start, &end);
        if (!span)
                return;
        span_attr_int(span, "podspan.attach.bytes_out", (int64_t) record->bytes_out);
        span_attr_int(span, "podspan.attach.bytes_in", (int64_t) record->bytes_in);
        if (record->bytes_dropped > 0)
                span_attr_int(span, "podspan.attach.dropped_bytes", (int64_t) record->bytes_dropped);
        if (record->stalled)
                set_failed(span, "stalled", "The client stopped reading");
}

void trace_rotated(Trace *trace, const LogsRotation *rotation) {
        static const char *const kinds[] = {
                [LOGS_REOPENED] = "reopened",
                [LOGS_KEPT] = "kept",
                [LOGS_TRUNCATED] = "truncated",
                [LOGS_ROTATED] = "rotated",
        };
        Span *span;
        Clk end;

        if (!trace->on)
                return;

        end = (Clk){
                .realtime_ns = rotation->start.realtime_ns + rotation->duration_ns,
                .monotonic_ns = rotation->start.monotonic_ns + rotation->duration_ns,
        };
        span = add_later(trace, "log_rotate", &rotation->start, &end);
        if (!span)
                return;
        span_attr_str(span, "podspan.log.rotation", kinds[rotation->kind]);
        span_attr_int(span, "podspan.log.size", (int64_t) rotation->size);
        if (rotation->error < 0)
                set_failed(span, strerrorname_np(-rotation->error), strerrordesc_np(-rotation->error));
}

static void add_stream(Trace *trace, const Monitor *monitor, LogsStream which, const TraceContext *parent,
                       const Clk *end) {
        const PumpStream *stream = &monitor->pump.streams[which];
        LogsCounts counts = logs_counts(monitor->logs, which);
        Span *span;

        /* With a terminal, standard error is the runtime's alone. */
        if (stream->reads == 0 && (which == LOGS_STDERR || !stream->tty) && monitor->options.terminal)
                return;
        if (logs_passthrough(monitor->logs))
                return;

        span = add_span(trace, SEMCONV_SPAN_READ_LOOP, NULL, parent);
        if (!span)
                return;
        /* What was left in the pipe is read after the container's end. */
        if (stream->reads > 0 && stream->last.monotonic_ns > end->monotonic_ns)
                end = &stream->last;
        set_time(span, &trace->called, end);
        span_attr_str(span, "log.iostream", which == LOGS_STDERR ? "stderr" : "stdout");
        span_attr_int(span, "podspan.io.bytes", (int64_t) counts.bytes);
        span_attr_int(span, "podspan.io.reads", (int64_t) stream->reads);
        if (logs_has(monitor->logs, LOGS_K8S_FILE) || logs_has(monitor->logs, LOGS_JOURNALD)) {
                span_attr_int(span, "podspan.log.lines", (int64_t) counts.lines);
                span_attr_int(span, "podspan.log.partial_lines", (int64_t) counts.partials);
                span_attr_int(span, "podspan.log.dropped_bytes", (int64_t) counts.dropped);
        }
        if (counts.limited > 0)
                span_attr_int(span, "podspan.log.limited_bytes", (int64_t) counts.limited);
        if (stream->reads > 0) {
                span_event(span, "first_byte", time_of(&stream->first, end));
                span_event(span, "last_byte", time_of(&stream->last, end));
        }
        if (counts.dropped > 0)
                set_failed(span, "log_lost", "Output did not get into the log");
}

static bool is_slow(const Trace *trace, const MonitorEnd *end) {
        return end->at.monotonic_ns - trace->called.monotonic_ns > trace->slow_call_ns;
}

bool trace_quiet(Trace *trace, const MonitorEnd *end) {
        if (!trace->on || !trace->probe || end->code != 0 || end->timed_out || is_slow(trace, end))
                return false;

        if (open_session(trace))
                counters_add(trace->session.counters, trace->options.producer, COUNTERS_WATCH_COUNTED, 1);
        trace_deinit(trace);
        return true;
}

void trace_ended(Trace *trace, const Monitor *monitor, const MonitorEnd *end) {
        const TraceContext *parent = &trace->cause.parent;
        const TraceContext *streams = parent;
        bool exec = trace->options.runtime->verb == RUNTIME_EXEC;
        ContextRecord call;
        TraceContext root;
        bool own, ended_by;
        Span *span;

        if (!trace->on)
                return;

        own = late(trace, &end->at);
        if (!open_session(trace))
                return;
        if (own) {
                if (sampler_new_root(&trace->session.sampler, &root) < 0)
                        return;
                parent = &root;
        }

        span = add_span(trace, SEMCONV_SPAN_WAIT_FOR_EXIT_CODE, NULL, parent);
        if (!span)
                return;
        if (own)
                streams = span_context(span);
        set_time(span, &trace->created, &end->at);
        span_attr_int(span, "process.pid", trace->container_pid);
        exitstatus_set(span, end->code, end->signal, end->never_ran && end->signal == 0 ? NEVER_RAN : NULL);
        if (end->timed_out)
                set_failed(span, "timeout", "Timed out");
        span_attr_bool(span, "podspan.oom_killed", end->oom);
        /* An exec's cgroup is the container's, whose end these belong to. */
        for (size_t i = 0; i < monitor->oom_victim.n_others && !exec; i++)
                span_event(span, "oom_kill", time_of(&monitor->oom_victim.others[i], &end->at));
        if (monitor->usage.cpu_ns > 0)
                span_attr_int(span, "podspan.cpu.time_ns", (int64_t) monitor->usage.cpu_ns);
        if (monitor->usage.memory_max > 0)
                span_attr_int(span, "podspan.memory.max_bytes", (int64_t) monitor->usage.memory_max);
        if (own)
                span_link(span, &trace->runtime, "start");
        ended_by = !exec && cause_find_end(&trace->session, &trace->cause, &call);
        if (ended_by)
                span_link(span, &call.trace, "call");
        if (!exec)
                set_verdict(trace, span, monitor, end, ended_by ? &call : NULL);

        for (int i = 0; i < LOGS_STREAM_MAX; i++)
                add_stream(trace, monitor, (LogsStream) i, streams, &end->at);

        /* The call that answers with an exit code has not failed: fast, it is no span, and ours are nobody's children.
         */
        if (trace->probe && trace->cause.source == CAUSE_CALL && !is_slow(trace, end))
                for (size_t i = 0; i < trace->n_spans; i++)
                        span_drop_parent(trace->spans[i], trace->cause.parent.span_id);
        trace->probe = false;
}

bool trace_pending(const Trace *trace) {
        return trace->on && !trace->probe && trace->n_spans > 0;
}

void trace_write(Trace *trace) {
        if (trace_pending(trace) && open_session(trace)) {
                session_write(&trace->session, trace->spans, trace->n_spans);
                if (trace->n_dropped > 0)
                        counters_add(trace->session.counters, trace->options.producer, COUNTERS_DROP_OVERLOAD,
                                     trace->n_dropped);
                trace->n_dropped = 0;
        }
        if (!trace->probe) {
                for (size_t i = 0; i < trace->n_spans; i++)
                        trace->spans[i] = span_free(trace->spans[i]);
                trace->n_spans = 0;
        }
        close_session(trace);
}
