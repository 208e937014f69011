/*
 * A stage is a moment. What makes it a span is another moment that is known for sure:
 *
 * - create: the birth of the bundle's config.json, where containerd or CRI-O made the bundle for this start; else the
 *   start of the runtime's process, if it is the parent of both this hook and the container's init; else the birth of a
 *   bundle that is at most 15 minutes old;
 * - start and delete: the start of the runtime's process, where it is not the one that created;
 * - container: createRuntime.
 *
 * Between two stages in one runtime process the span has the later one's name. Where no other moment is known, it has
 * no length. The attribute podspan.start.source says which it was.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "hook.h"
#include "input.h"
#include "log.h"
#include "origin.h"
#include "procfs.h"
#include "semconv.h"

#define CONFIG_JSON "/config.json"
#define SPANS_MAX   2

#define BUNDLE_AGE_MAX_NS (15 * 60 * NSEC_PER_SEC)

typedef struct Hook {
        Session session;
        State state;
        Origin origin;
        Stage stage;
        uint64_t now_ns;
        ProcfsProcess runtime; /* the process that ran this hook, if find_runtime() says so */
        Span *spans[SPANS_MAX];
        size_t n_spans;
} Hook;

#define HOOK_NULL \
        { .session = SESSION_NULL }

/* A stamp that lies ahead is another clock's. */
static uint64_t not_after(uint64_t ns, uint64_t limit_ns) {
        return MIN(ns, limit_ns);
}

static int add_span(Hook *hook, const char *name, const TraceContext *parent, uint64_t start_ns, const char *source,
                    Span **ret) {
        Span *span;
        int r;

        r = origin_span(&hook->origin, &hook->state, name, parent, &span);
        if (r < 0)
                return r;
        hook->spans[hook->n_spans++] = span;

        span_set_time(span, not_after(start_ns, hook->now_ns), hook->now_ns);
        span_attr_str(span, "oci.hook.stage", stage_name(hook->stage));
        span_attr_str(span, "podspan.start.source", source);
        span_attr_str(span, "podspan.oci.bundle", hook->state.bundle);
        if (hook->state.pid > 0 && stage_on_host(hook->stage))
                span_attr_int(span, "process.pid", hook->state.pid);
        if (ret)
                *ret = span;
        return 0;
}

/* When the bundle's specification was written. Returns 0 or a negative errno. */
static int bundle_birth(const State *state, uint64_t *ret) {
        char path[sizeof(state->bundle) + sizeof(CONFIG_JSON)];
        struct statx stx;

        if (state->bundle[0] != '/')
                return -ENOENT;

        (void) snprintf(path, sizeof(path), "%s" CONFIG_JSON, state->bundle);
        if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_BTIME, &stx) < 0)
                return -errno;
        if (!(stx.stx_mask & STATX_BTIME))
                return -EOPNOTSUPP;

        *ret = (uint64_t) stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec;
        return 0;
}

/* Is it known which process ran this hook? Asked for only where it matters, because /proc is slow. */
static bool find_runtime(Hook *hook) {
        if (hook->runtime.pid == 0 && (!stage_on_host(hook->stage) || procfs_get_parent(&hook->runtime) < 0))
                hook->runtime.pid = -1;
        return hook->runtime.pid > 0;
}

/*
 * Did the process that ran this hook also create the container? It did if it has the same pid and was there when the
 * record was written.
 */
static bool same_runtime(Hook *hook) {
        const ContextRecord *record = &hook->origin.record;

        return hook->origin.has_record && record->pid == (uint32_t) getppid() && find_runtime(hook) &&
               procfs_start_realtime(&hook->runtime) <= record->start_ns;
}

static bool other_runtime(Hook *hook) {
        return hook->origin.has_record && hook->origin.record.pid != 0 && !same_runtime(hook) && find_runtime(hook);
}

/* The start of a later runtime process; its stamp is rounded down, to before the record perhaps. */
static uint64_t runtime_start(const Hook *hook) {
        return MAX(procfs_start_realtime(&hook->runtime), hook->origin.record.start_ns);
}

/* The parent of the container's init is the runtime; if that is our parent too, then we know when it began. */
static bool runtime_creates(Hook *hook) {
        ProcfsProcess init;

        return hook->state.pid > 0 && find_runtime(hook) && procfs_get((pid_t) hook->state.pid, &init) == 0 &&
               init.ppid == hook->runtime.pid;
}

/* When creating began, as well as it is known; the return value says from what. */
static const char *create_start(Hook *hook, uint64_t *ret) {
        bool has_birth, per_start = hook->origin.manager == MANAGER_CONTAINERD || hook->origin.manager == MANAGER_CRIO;
        uint64_t birth = 0;

        has_birth = bundle_birth(&hook->state, &birth) == 0 && birth <= hook->now_ns;
        if (has_birth && per_start) {
                *ret = birth;
                return "bundle";
        }

        /* A runtime cannot have begun with a bundle that was not there yet. */
        if (runtime_creates(hook)) {
                *ret = MAX(procfs_start_realtime(&hook->runtime), birth);
                return "runtime";
        }

        /* Who made this bundle may use it more than once; an old one says nothing. */
        if (has_birth && hook->now_ns - birth <= BUNDLE_AGE_MAX_NS) {
                *ret = birth;
                return "bundle";
        }

        *ret = hook->now_ns;
        return NULL;
}

static void write_record(Hook *hook, const TraceContext *trace) {
        ContextRecord record = {
                .trace = *trace,
                .identity = hook->origin.identity,
                .start_ns = hook->now_ns,
                .pid = (uint32_t) getppid(),
        };
        Session *session = &hook->session;
        int r;

        (void) snprintf(record.operation, sizeof(record.operation), "%s", stage_name(hook->stage));

        r = context_put(&session->context, CONTEXT_HOOK, hook->state.id, &record);
        if (r != -ENOENT)
                return;

        /* The first container since boot, and no podspan-cri: the directory is ours to make. */
        context_deinit(&session->context);
        r = context_init(&session->context, session->state_fd, /* create= */ true, COUNTERS_HOOK, session->counters);
        if (r == 0)
                (void) context_put(&session->context, CONTEXT_HOOK, hook->state.id, &record);
}

static int run_create(Hook *hook) {
        const TraceContext *parent = &hook->origin.parent;
        static const uint8_t none[TRACECONTEXT_SPAN_ID_SIZE];
        const char *source;
        uint64_t start;
        Span *span;
        int r;

        /* prestart and createRuntime may both be configured: the first one has the record. */
        if (same_runtime(hook))
                return add_span(hook, stage_name(hook->stage), parent, hook->origin.record.start_ns, "stage", NULL);

        source = create_start(hook, &start);
        if (source)
                r = add_span(hook, "create", parent, start, source, &span);
        else
                r = add_span(hook, stage_name(hook->stage), parent, hook->now_ns, "none", &span);
        if (r < 0)
                return r;

        /* A file cannot hold a parent without a span id. */
        write_record(hook, memcmp(parent->span_id, none, sizeof(none)) == 0 ? span_context(span) : parent);
        return 0;
}

static int run_between(Hook *hook) {
        if (hook->origin.has_record)
                return add_span(hook, stage_name(hook->stage), &hook->origin.parent, hook->origin.record.start_ns,
                                "stage", NULL);
        return add_span(hook, stage_name(hook->stage), &hook->origin.parent, hook->now_ns, "none", NULL);
}

static int run_poststart(Hook *hook) {
        if (other_runtime(hook))
                return add_span(hook, "start", &hook->origin.parent, runtime_start(hook), "runtime", NULL);
        /* A record of unknown origin may be from long before this call. */
        if (same_runtime(hook))
                return run_between(hook);
        return add_span(hook, stage_name(hook->stage), &hook->origin.parent, hook->now_ns, "none", NULL);
}

static int run_poststop(Hook *hook) {
        TraceContext start = hook->origin.parent;
        Span *span;
        int r;

        if (!hook->origin.has_record)
                return add_span(hook, stage_name(hook->stage), &hook->origin.parent, hook->now_ns, "none", NULL);

        if (other_runtime(hook)) {
                r = add_span(hook, "delete", &hook->origin.parent, runtime_start(hook), "runtime", NULL);
                if (r < 0)
                        return r;
        }

        /* A life that ends soon is part of the start's trace, and so are its spans. */
        if (hook->origin.source != ORIGIN_ENVIRONMENT && !origin_start_parent(&hook->origin, hook->now_ns, &start))
                start = hook->origin.parent;
        r = add_span(hook, SEMCONV_SPAN_CONTAINER, &start, hook->origin.record.start_ns, "stage", &span);
        if (r < 0)
                return r;
        if (hook->origin.source == ORIGIN_CALL &&
            memcmp(start.span_id, hook->origin.parent.span_id, sizeof(start.span_id)) != 0)
                span_link(span, &hook->origin.parent, "call");

        (void) context_remove(&hook->session.context, CONTEXT_HOOK, hook->state.id);
        return 0;
}

static int run_stage(Hook *hook) {
        switch (hook->stage) {
        case STAGE_PRESTART:
        case STAGE_CREATE_RUNTIME:
                return run_create(hook);
        case STAGE_CREATE_CONTAINER:
        case STAGE_START_CONTAINER:
                return run_between(hook);
        case STAGE_POSTSTART:
                return run_poststart(hook);
        case STAGE_POSTSTOP:
                return run_poststop(hook);
        case STAGE_UNKNOWN:
                break;
        }
        return 0;
}

void hook_run(const Options *options, char *const *envp, uint64_t now_ns) {
        static Hook hook = HOOK_NULL; /* large: what is not used of it is never touched */
        int wanted, r;

        assert(options);

        hook.stage = options->stage;
        hook.now_ns = now_ns;

        wanted = session_init(&hook.session, COUNTERS_HOOK, HOOK_SERVICE, options->config, options->state_dir);
        if (wanted < 0)
                log_warning_errno(wanted, "Cannot use the state directory, ignoring: %m");
        if (hook.session.config_error)
                log_warning("%s: using the defaults", hook.session.config_error);
        if (hook.session.refusal)
                log_warning("%s", hook.session.refusal);

        /* Read also when nobody wants spans: the runtime is writing. */
        r = input_read(STDIN_FILENO, HOOK_INPUT_TIMEOUT_NS, hook.session.config.link_annotations, &hook.state);
        if (wanted <= 0)
                return;
        if (r <= 0) {
                counters_add(hook.session.counters, COUNTERS_HOOK, COUNTERS_INPUT_BAD, 1);
                log_warning("No OCI state on standard input, ignoring");
                return;
        }

        r = origin_find(&hook.session, &hook.state, hook.stage, envp, now_ns, &hook.origin);
        if (r == 0)
                r = run_stage(&hook);
        if (r < 0)
                log_warning_errno(r, "Cannot make a span, ignoring: %m");
        session_write(&hook.session, hook.spans, hook.n_spans);
}
