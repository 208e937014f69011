#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include "life.h"

static void find_cgroup(Tell *tell, Node *node, const Event *event) {
        if (tell->host.cgroup && !node->cgroup)
                (void) tell->host.cgroup(tell->host.userdata, event->pid, event->start_ns, &node->cgroup);
}

int life_begin(Tell *tell, Node *node, const Event *event) {
        const TraceContext *parent;
        TraceContext context, child;
        uint64_t begin_ns;
        int r;

        assert(tell);
        assert(node);
        assert(event);

        node->last_ns = event->time_ns;
        node->entry_ns = event->time_ns;
        if (node->hold)
                return 0;
        find_cgroup(tell, node, event);

        begin_ns = MIN(node->finished ? node->end_ns : node->begin_ns, event->time_ns);
        parent = node_life_parent(node);
        r = tracecontext_new_child(parent, &context);
        if (r < 0)
                return r;
        r = tell_time(tell, node, "entrypoint", &context, parent, begin_ns, event->time_ns, event->pid);
        if (r < 0 || node->start_ns <= begin_ns || node->start_ns > event->time_ns)
                return r;

        r = tracecontext_new_child(&context, &child);
        if (r >= 0)
                r = tell_time(tell, node, "created", &child, &context, begin_ns, node->start_ns, 0);
        if (r >= 0)
                r = tracecontext_new_child(&context, &child);
        if (r >= 0)
                r = tell_time(tell, node, "starting", &child, &context, node->start_ns, event->time_ns, 0);
        return r;
}

void life_found(Tell *tell, Node *node, const Event *event) {
        assert(tell);
        assert(node);
        assert(event);

        node->found = true;
        find_cgroup(tell, node, event);
}

static void add_links(const Node *node, bool late, Span *span) {
        if (late && !node->found)
                span_link(span, &node->context, "start");
        for (size_t i = 0; node->found && i < node->n_links; i++)
                span_link(span, &node->links[i], node->why[i]);
}

/*
 * Was the container's first process the victim of the OOM killer? The end of the container is that; another victim is
 * an event of its own, at @wall less the time since.
 */
static void say_oom(const Tell *tell, const Node *node, const Event *event, uint64_t wall, Span *span) {
        bool victim = event->flags & EVENT_OOM;
        bool killed = WIFSIGNALED(event->status) && WTERMSIG(event->status) == SIGKILL;
        /* An exec shares the container's cgroup. */
        bool other = !victim && !node->hold && event->oom_ns >= node->entry_ns && event->oom_ns <= event->time_ns;
        bool counted = !victim && !other && node->cgroup && tell->host.oom_killed(tell->host.userdata, node->cgroup);

        if (other)
                span_event(span, "oom_kill", wall - (event->time_ns - event->oom_ns));
        /* The cgroup's own count names neither victim nor time. */
        if (counted)
                span_attr_bool(span, "podspan.oom_kill_counted", true);
        if (!counted || !killed)
                span_attr_bool(span, "podspan.oom_killed", victim);
}

int life_end(Tell *tell, Node *node, const Event *event, const Clk *now, uint64_t start_window_ns) {
        uint64_t wall = now->realtime_ns + (event->time_ns - now->monotonic_ns);
        TraceContext context, parent;
        Span *span;
        bool late;
        int r;

        node->last_ns = MAX(node->last_ns, event->time_ns);
        node->container_status = event->status;
        if (node->silent || node->entry_ns == 0)
                return 0;

        parent = *node_life_parent(node);
        late = !node->hold && event->time_ns - node->entry_ns > start_window_ns;
        if (late) {
                r = tell->host.root(tell->host.userdata, &parent);
                if (r < 0)
                        return 0;
        }
        r = tracecontext_new_child(&parent, &context);
        if (r < 0)
                return 0;
        r = node_span_new(node, "wait_for_exit_code", &context, &parent, &span);
        if (r < 0)
                return r;

        /* A life can be long and the wall clock be set meanwhile: the end is what has just been seen. */
        span_set_time(span, wall - (event->time_ns - node->entry_ns), wall);
        span_attr_int(span, "process.pid", event->pid);
        say_oom(tell, node, event, wall, span);
        node_span_exit(span, event->status);
        add_links(node, late, span);
        if (node->monitored)
                tell_report(tell, node, span, event->time_ns, REPORTS_END_NS);
        else
                tell_span(tell, node, span);
        return 0;
}
