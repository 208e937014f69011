#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "tell.h"

#define PHASES_MAX 32

void tell_span(Tell *tell, Node *node, Span *consume_span) {
        _cleanup_(span_freep) Span *span = consume_span;
        Node *holder = NULL;

        for (Node *above = node; above; above = above->nested ? above->parent : NULL)
                if (above->hold)
                        holder = above;
        if (!holder) {
                tell->host.emit(tell->host.userdata, TAKE_PTR(span));
                return;
        }

        if (!holder->held)
                holder->held = calloc(STORY_HELD_MAX, sizeof(Span *));
        if (holder->held && holder->n_held < STORY_HELD_MAX)
                holder->held[holder->n_held++] = TAKE_PTR(span);
        else
                tell->n_dropped++;
}

int tell_time(Tell *tell, Node *node, const char *name, const TraceContext *context, const TraceContext *parent,
              uint64_t begin_ns, uint64_t end_ns, uint32_t pid) {
        Span *span;
        int r;

        r = node_span_new(node, name, context, parent, &span);
        if (r < 0)
                return r;
        span_set_time(span, node_wall(node, begin_ns), node_wall(node, end_ns));
        if (pid != 0)
                span_attr_int(span, "process.pid", pid);
        tell_span(tell, node, span);
        return 0;
}

static int tell_phase(Tell *tell, Node *node, const NodePhase *phase, const TraceContext *context) {
        Span *span;
        int r;

        r = node_span_new(node, phase->name, context, &node->context, &span);
        if (r < 0)
                return r;
        span_set_time(span, node_wall(node, phase->begin_ns), node_wall(node, phase->end_ns));
        node_span_work(node, span, phase->begin_ns, phase->end_ns, phase->run_delay_ns);
        tell_span(tell, node, span);
        return 0;
}

/* 0 with the context of the new span in @ret (may be NULL), or a negative errno. */
static int tell_work(Tell *tell, Node *node, const char *name, const Work *work, const TraceContext *parent,
                     TraceContext *ret) {
        TraceContext context;
        Span *span;
        int r;

        r = tracecontext_new_child(parent, &context);
        if (r >= 0)
                r = node_work_span(node, name, work, &context, parent, &span);
        if (r < 0) {
                tell->n_dropped++;
                return r;
        }
        tell_span(tell, node, span);
        if (ret)
                *ret = context;
        return 0;
}

/* The command was to make a container, and has failed before the container's program ran. */
static bool is_failed_start(const Node *node) {
        bool makes = strcmp(node->verb, "create") == 0 || strcmp(node->verb, "run") == 0;
        const Node *top = node;

        while (top->nested)
                top = top->parent;
        /* A CRI call that has failed says so itself, in the runtime's words. */
        return node->kind == COMMAND_RUNTIME && makes && node->owner && node->status > 0 && node->entry_ns == 0 &&
               !node->incomplete && !top->live;
}

static void say_failed_start(const Node *node, Span *span) {
        VerdictFacts facts = VERDICT_FACTS_NONE;
        char words[COMMAND_NAME_MAX + 64];
        VerdictDecision decision;

        if (WIFSIGNALED(node->status))
                (void) snprintf(words, sizeof(words), "%s %s was ended by signal %d", node->name, node->verb,
                                WTERMSIG(node->status));
        else
                (void) snprintf(words, sizeof(words), "%s %s failed with exit code %d", node->name, node->verb,
                                WEXITSTATUS(node->status));
        facts.start_failure = words;
        decision = verdict_decide(&facts);
        verdict_set(span, &facts, &decision);
        span_set_status(span, SPAN_STATUS_ERROR, words);
}

void tell_node(Tell *tell, Node *node) {
        TraceContext contexts[PHASES_MAX];
        NodePhase phases[PHASES_MAX];
        size_t n = node_phases(node, phases, PHASES_MAX);
        Span *span;
        int r;

        for (size_t i = 0; i < n; i++) {
                r = tracecontext_new_child(&node->context, &contexts[i]);
                if (r >= 0)
                        r = tell_phase(tell, node, &phases[i], &contexts[i]);
                if (r < 0) {
                        tell->n_dropped++;
                        contexts[i] = node->context;
                }
        }

        /* Of programs that are somebody else's, the attributes say enough. */
        for (size_t i = 0; command_traits[node->kind].infrastructure && i < node->work.n; i++) {
                const Work *work = &node->work.items[i];
                const TraceContext *parent = &node->context;

                if (!work_is_span(work) || work->begin_ns < node->begin_ns || work->end_ns > node->end_ns)
                        continue;
                for (size_t k = 0; k < n; k++)
                        if (phases[k].begin_ns <= work->begin_ns && work->end_ns <= phases[k].end_ns)
                                parent = &contexts[k];
                (void) tell_work(tell, node, work_name(work->kind), work, parent, NULL);
        }

        if (node_span(node, &span) < 0) {
                tell->n_dropped++;
                return;
        }
        if (is_failed_start(node))
                say_failed_start(node, span);
        if (node->monitored)
                tell_report(tell, node, span, node->end_ns, REPORTS_CALL_NS);
        else
                tell_span(tell, node, span);
}

void tell_report(Tell *tell, const Node *node, Span *consume_span, uint64_t time_ns, uint64_t limit_ns) {
        _cleanup_(span_freep) Span *span = consume_span;
        const Node *above = node_reporter(node);

        if (!above)
                return;
        /* One that ended by itself may have waited for this very end; of what ends long after it knows nothing. */
        if (above->killed || (above->gone_ns != 0 && time_ns > above->gone_ns + REPORTS_END_NS))
                tell->host.emit(tell->host.userdata, TAKE_PTR(span));
        else if (above->gone_ns == 0)
                /* Above the bound: nothing is lost yet, the reporter is there. */
                (void) reports_hold(&tell->reports, above->reporter, time_ns, limit_ns, TAKE_PTR(span));
}

void tell_withheld(Tell *tell, const Node *node) {
        Span *span;

        if (node_span(node, &span) < 0)
                tell->n_dropped++;
        else
                tell_report(tell, node, span, node->end_ns, REPORTS_END_NS);
}

/* `podspan-hook wrap` ends as what it wraps has ended, by the same signal, when it has reported that. */
static bool imitates(const Node *node, int status) {
        return node->nested && node->child_status >= 0 && WIFSIGNALED(node->child_status) &&
               WTERMSIG(node->child_status) == WTERMSIG(status);
}

/* The span of the killed @node. Returns 0 or a negative errno. */
static int tell_killed(Tell *tell, Node *node, const Event *event, const Clk *now, uint64_t start_window_ns) {
        uint64_t wall = now->realtime_ns + (event->time_ns - now->monotonic_ns);
        bool late = !node->nested && event->time_ns - node->begin_ns > start_window_ns;
        Span *span;
        int r = 0;

        if (late)
                r = tell->host.root(tell->host.userdata, &node->parent_context);
        if (r >= 0 && !node->nested)
                r = tracecontext_new_child(&node->parent_context, &node->context);
        if (r < 0)
                return r;

        node->pid = event->pid;
        node->status = event->status;
        node->end_ns = MAX(event->time_ns, node->begin_ns);
        r = node_span(node, &span);
        if (r < 0)
                return r;
        /* A life can be long and the wall clock be set meanwhile: the end is what has just been seen. */
        if (!node->nested)
                span_set_time(span, wall - (node->end_ns - node->begin_ns), wall);
        span_set_status(span, SPAN_STATUS_ERROR, "Killed before it could report");
        if (late)
                span_link(span, &node->made, "start");
        tell->host.emit(tell->host.userdata, span);
        return 0;
}

void tell_reporter_end(Tell *tell, Node *node, const Event *event, const Clk *now, uint64_t start_window_ns) {
        Span *span;

        node->gone_ns = event->time_ns;
        node->killed = WIFSIGNALED(event->status) && !imitates(node, event->status);
        if (!node->killed) {
                reports_drop(&tell->reports, node->reporter);
                return;
        }
        while ((span = reports_take(&tell->reports, node->reporter, event->time_ns)))
                tell->host.emit(tell->host.userdata, span);
        /* Whose it was is known of a monitor by the call that it made. */
        if (node->owner && tell_killed(tell, node, event, now, start_window_ns) < 0)
                tell->n_dropped++;
}

static bool is_alone(const StoryCall *call, const Work *work) {
        if (work->begin_ns < call->time.begin_ns || work->end_ns > call->time.end_ns)
                return false;
        for (size_t i = 0; i < call->n_others; i++)
                if (work->begin_ns < call->others[i].end_ns && call->others[i].begin_ns < work->end_ns)
                        return false;
        return true;
}

/* A piece of what @engine did, as "crio: mount"; the span's context in @ret (may be NULL). */
static void tell_piece(Tell *tell, const Node *engine, Node *node, const char *what, const Work *work,
                       const TraceContext *parent, TraceContext *ret) {
        char name[COMMAND_NAME_MAX + 32];

        (void) snprintf(name, sizeof(name), "%s: %s", engine->name, what);
        (void) tell_work(tell, node, name, work, parent, ret);
}

void tell_engine(Tell *tell, const Node *engine, const StoryCall *call) {
        Node node = { .owner = call->owner, .clk = call->clk };
        Work works[WORK_MAX], told[WORK_MAX], rest[WORK_MAX + 1];
        size_t n = 0, n_told = 0, burst;

        for (size_t i = 0; i < engine->work.n; i++)
                if (is_alone(call, &engine->work.items[i]))
                        works[n++] = engine->work.items[i];
        work_sort(works, n);

        for (size_t i = 0; i < n; i += burst) {
                TraceContext parent = call->context;
                Work sum;

                burst = work_burst(&works[i], n - i, &sum);
                if (!work_is_span(&sum))
                        continue;
                told[n_told++] = sum;
                if (burst > 1)
                        tell_piece(tell, engine, &node, "files", &sum, &call->context, &parent);
                for (size_t k = i; k < i + burst; k++)
                        if (work_is_span(&works[k]))
                                tell_piece(tell, engine, &node, work_name(works[k].kind), &works[k], &parent, NULL);
        }

        /* On a CPU it is during the work above, too. */
        for (size_t i = 0; i < engine->runs.n; i++) {
                Work run = engine->runs.items[i];
                size_t n_rest;

                run.begin_ns = MAX(run.begin_ns, call->time.begin_ns);
                run.end_ns = MIN(run.end_ns, call->time.end_ns);
                n_rest = work_rest(&run, told, n_told, rest);

                for (size_t k = 0; k < n_rest; k++)
                        if (is_alone(call, &rest[k]))
                                tell_piece(tell, engine, &node, work_name(EVENT_WORK_RUN), &rest[k], &call->context,
                                           NULL);
        }
}

void tell_probe(Tell *tell, Node *node, uint64_t slow_ns) {
        bool failed = node->status > 0 || node->container_status > 0;
        bool slow = node->last_ns - node->begin_ns >= slow_ns;

        if (failed || slow) {
                /* A call that was neither slow nor failed has no span of its own: there is no parent then. */
                for (size_t i = 0; i < node->n_held && !slow; i++)
                        span_drop_parent(node->held[i], node->parent_context.span_id);
                for (size_t i = 0; i < node->n_held; i++)
                        tell->host.emit(tell->host.userdata, TAKE_PTR(node->held[i]));
                node->n_held = 0;
        } else {
                Command command = { .kind = node->kind };

                memcpy(command.name, node->name, sizeof(command.name));
                memcpy(command.verb, node->verb, sizeof(command.verb));
                tell->host.counted(tell->host.userdata, &command);
        }
}
