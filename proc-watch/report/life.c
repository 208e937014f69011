#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include "exitstatus.h"
#include "life.h"
#include "semconv.h"

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

int life_victim(Node *node, const Event *event, const EventVictim *victim) {
        Identity identity = {};

        assert(node);
        assert(event);
        assert(victim);

        if (node->owner)
                owner_identity(node->owner, &identity);
        return death_note(&node->victims, event, victim,
                          death_scope(victim, node->owner ? owner_id(node->owner) : "", identity.pod_uid));
}

static void say_victim(const DeathVictim *victim, uint64_t wall, Span *span) {
        span_event(span, VERDICT_EVENT_OOM, wall);
        span_event_attr_str(span, VERDICT_ATTR_OOM_SCOPE, verdict_scope_word(victim->scope));
        span_event_attr_str(span, VERDICT_ATTR_OOM_PROGRAM, victim->program);
        span_event_attr_int(span, VERDICT_ATTR_OOM_PID, victim->pid);
        if (victim->limit_bytes > 0)
                span_event_attr_int(span, VERDICT_ATTR_OOM_LIMIT, victim->limit_bytes);
        if (victim->rss_bytes > 0)
                span_event_attr_int(span, VERDICT_ATTR_OOM_RSS, victim->rss_bytes);
}

/*
 * Was the container's first process the victim of the OOM killer? The end of the container is that; another victim is
 * an event of its own, at @wall less the time since.
 */
static void say_oom(const Tell *tell, const Node *node, const Event *event, bool victim, uint64_t wall, Span *span) {
        bool killed = WIFSIGNALED(event->status) && WTERMSIG(event->status) == SIGKILL;
        /* An exec shares the container's cgroup. */
        bool other = !victim && !node->hold && event->oom_ns >= node->entry_ns && event->oom_ns <= event->time_ns;
        bool counted;

        for (size_t i = 0; node->victims && i < node->victims->n; i++) {
                const DeathVictim *chosen = &node->victims->items[i];

                if (chosen->pid == event->pid && chosen->start_ns == event->start_ns)
                        continue;
                say_victim(chosen, wall - (event->time_ns - MIN(chosen->time_ns, event->time_ns)), span);
                other = false;
        }
        if (other)
                span_event(span, VERDICT_EVENT_OOM, wall - (event->time_ns - event->oom_ns));
        counted = !victim && !other && !node->victims && node->cgroup &&
                  tell->host.oom_killed(tell->host.userdata, node->cgroup);
        /* The cgroup's own count names neither victim nor time. */
        if (counted)
                span_attr_bool(span, "podspan.oom_kill_counted", true);
        if (!counted || !killed)
                span_attr_bool(span, "podspan.oom_killed", victim);
}

/* Is it, or was it, below a shim or a monitor, which waits for its end? */
static bool is_supervised(const Node *node) {
        for (const Node *above = node; above; above = above->parent)
                if (above->found || above->kind == COMMAND_SHIM || above->kind == COMMAND_MONITOR ||
                    above->kind == COMMAND_OURS)
                        return true;
        return false;
}

/* Sets what is known of the death. Of a process that was not the container's first there is no verdict. */
static void say_death(const Tell *tell, const Node *node, const Event *event, const EventDeath *death,
                      const char *sender_container, uint64_t wall, Span *span) {
        VerdictDecision decision;
        Identity identity = {};
        VerdictFacts facts;

        death_facts(death, death_find(node->victims, event), event, wall, node->found ? node->begin_ns : 0,
                    sender_container, &facts);
        say_oom(tell, node, event, facts.oom_ended, wall, span);
        if (node->hold) {
                facts.stop = VERDICT_STOP_UNSEEN;
                facts.stop_asked_ns = 0;
                facts.memory_low = facts.memory_high = facts.memory_max = -1;
                facts.memory_oom = facts.memory_oom_kill = facts.memory_oom_group_kill = -1;
                facts.throttled_ns = facts.throttled_periods = facts.periods = -1;
                verdict_set(span, &facts, NULL);
                return;
        }
        if (node->owner)
                owner_identity(node->owner, &identity);
        facts.in_pod = *identity.pod_uid;
        facts.lost = is_supervised(node) && death_orphaned(death);
        decision = verdict_decide(&facts);
        verdict_set(span, &facts, &decision);
}

typedef struct LifeEnd {
        const Event *event;
        const EventDeath *death;
        const char *sender_container;
        uint64_t wall;
        bool late; /* in a trace of its own */
} LifeEnd;

/* A span called @name of the whole life, below @parent. 0 with a span owned by the caller, or a negative errno. */
static int end_span(const Tell *tell, const Node *node, const char *name, const TraceContext *parent,
                    const LifeEnd *end, Span **ret) {
        TraceContext context;
        Span *span;
        int r;

        r = tracecontext_new_child(parent, &context);
        if (r < 0)
                return r;
        r = node_span_new(node, name, &context, parent, &span);
        if (r < 0)
                return r;

        /* A life can be long and the wall clock be set meanwhile: the end is what has just been seen. */
        span_set_time(span, end->wall - (end->event->time_ns - node->entry_ns), end->wall);
        span_attr_int(span, "process.pid", end->event->pid);
        say_death(tell, node, end->event, end->death, end->sender_container, end->wall, span);
        exitstatus_set_wait(span, end->event->status, NULL);
        add_links(node, end->late, span);
        *ret = span;
        return 0;
}

/* Does the kernel side know of this end what a monitor cannot: the sender of a signal, or whose limit it was? */
static bool knows_more(const Node *node, const LifeEnd *end) {
        const Node *monitor = node_reporter(node);

        return monitor && !monitor->killed && death_cause(end->death, end->event->status);
}

int life_end(Tell *tell, Node *node, const Event *event, const EventDeath *death, const char *sender_container,
             const Clk *now, uint64_t start_window_ns) {
        LifeEnd end = {
                .event = event,
                .death = death,
                .sender_container = sender_container,
                .wall = now->realtime_ns + (event->time_ns - now->monotonic_ns),
                .late = !node->hold && event->time_ns - node->entry_ns > start_window_ns,
        };
        TraceContext parent;
        Span *span;
        int r;

        node->last_ns = MAX(node->last_ns, event->time_ns);
        node->container_status = event->status;
        if (node->silent || node->entry_ns == 0)
                return 0;

        parent = *node_life_parent(node);
        if (end.late) {
                r = tell->host.root(tell->host.userdata, &parent);
                if (r < 0)
                        return 0;
        }
        r = end_span(tell, node, SEMCONV_SPAN_WAIT_FOR_EXIT_CODE, &parent, &end, &span);
        if (r < 0)
                return r;
        if (!node->monitored) {
                tell_span(tell, node, span);
                return 0;
        }
        tell_report(tell, node, span, event->time_ns, REPORTS_END_NS);
        if (node->hold || !knows_more(node, &end))
                return 0;
        r = end_span(tell, node, "death", &parent, &end, &span);
        if (r >= 0)
                tell->host.emit(tell->host.userdata, span);
        return r;
}
