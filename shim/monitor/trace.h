#pragma once

/*
 * Trace
 *
 * What a monitor tells of its container as spans (docs/conmon.md): the runtime call, one `read_loop` per stream,
 * `attach`, `log_rotate` and `wait_for_exit_code`. Files are opened to find the cause and to write, and closed again:
 * a monitor that lives for weeks holds nothing of the state directory. Where nobody wants spans all this does nothing.
 */

#include "attach.h"
#include "cause.h"
#include "logs.h"
#include "monitor.h"

#define TRACE_SPANS_MAX 32 /* that wait to be written; more are dropped and counted */

typedef struct TraceOptions {
        CountersProducer producer;
        const char *service; /* a literal, as in session_init() */
        const RuntimeArgs *runtime;
        char *const *envp;
        Clk began;    /* when the program did */
        Clk admitted; /* when its caller let it go on */
} TraceOptions;

typedef struct Trace {
        bool on;
        bool probe; /* set by the owner: an exec that becomes spans only if it fails or is slow */
        TraceOptions options;
        Session session; /* open while `open` says so */
        bool open;
        bool record_error_message;
        uint64_t slow_call_ns;
        uint64_t start_window_ns;
        Cause cause;
        TraceContext runtime; /* of the span of the runtime call */
        Clk called;
        Clk created;
        int64_t runtime_pid;
        int64_t container_pid;
        Span *spans[TRACE_SPANS_MAX];
        size_t n_spans;
        uint64_t n_dropped;
} Trace;

#define TRACE_NULL \
        { .session = SESSION_NULL }

/* Finds out whether spans are wanted, and of whose trace; before the runtime is called. Returns whether they are. */
bool trace_init(Trace *trace, const TraceOptions *options);
/* Writes nothing more. */
void trace_deinit(Trace *trace);

/* The runtime's environment with the trace context in it: a vector to be freed, whose strings are shared; NULL where it
 * is as it was. */
char **trace_environment(const Trace *trace);

void trace_runtime_called(Trace *trace, pid_t pid);
/* The monitor could not get as far as calling the runtime: a failed span with @text, which may be NULL. */
void trace_set_up_failed(Trace *trace, const char *text);
/* The runtime has ended; with @words what it said last (not NUL-terminated, may be empty). */
void trace_runtime_ended(Trace *trace, int status, const Clk *at, bool failed, const char *words, size_t len);
void trace_created(Trace *trace, pid_t pid);
void trace_attached(Trace *trace, const AttachRecord *record);
void trace_rotated(Trace *trace, const LogsRotation *rotation);
/* Is it a probe that went well, and fast? Then it is counted, and nothing more is told. */
bool trace_quiet(Trace *trace, const MonitorEnd *end);
/* The end: spans of the streams and of how it ended. */
void trace_ended(Trace *trace, const Monitor *monitor, const MonitorEnd *end);

/* Is something to be written now? Of a probe not before its end. */
bool trace_pending(const Trace *trace);
/* Writes it and closes what was open for that. */
void trace_write(Trace *trace);
