#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "exitstatus.h"
#include "node.h"

#define PHASE_MIN_NS (100 * NSEC_PER_USEC) /* less is no phase worth a span */

Node *node_new(Node *parent, const Command *command, uint32_t pid, uint64_t begin_ns, const Clk *clk) {
        Node *node;

        assert(command);
        assert(clk);

        node = calloc(1, sizeof(*node));
        if (!node)
                return NULL;

        *node = (Node){
                .n_refs = 1,
                .kind = command->kind,
                .clk = *clk,
                .begin_ns = begin_ns,
                .last_ns = begin_ns,
                .pid = pid,
                .uid = command->uid,
                .status = NODE_STATUS_UNKNOWN,
                .child_status = NODE_STATUS_UNKNOWN,
                .container_status = -1,
        };
        if (parent) {
                parent->n_refs++;
                node->parent = parent;
        }
        (void) snprintf(node->name, sizeof(node->name), "%s", command->name);
        (void) snprintf(node->verb, sizeof(node->verb), "%s", command->verb);
        (void) snprintf(node->ifname, sizeof(node->ifname), "%s", command->ifname);
        return node;
}

Node *node_free(Node *node) {
        Node *parent = node->parent;

        for (size_t i = 0; i < node->n_held; i++)
                span_free(node->held[i]);
        free(node->held);
        node_forget(node);
        free(node->cgroup);
        free(node->victims);
        free(node->links);
        free(node->why);
        owner_unref(node->owner);
        free(node);
        return parent;
}

void node_forget(Node *node) {
        free(node->marks);
        node->marks = NULL;
        node->n_marks = 0;
        work_free(&node->work);
        work_free(&node->runs);
}

bool node_open(const Node *node) {
        return node && !node->silent && !node->finished;
}

Node *node_reporter(const Node *node) {
        Node *above = node->parent;

        while (above && above->reporter.pid == 0)
                above = above->parent;
        return above;
}

const TraceContext *node_life_parent(const Node *node) {
        while (node->nested)
                node = node->parent;
        if (!node->monitored)
                return &node->parent_context;
        if (tracecontext_has_span(&node->call))
                return &node->call;
        return node->found ? &node->parent_context : &node->context;
}

bool node_speaks(const Node *node, const Command *command, const Node *parent) {
        switch (command_traits[command->kind].speaks) {
        case COMMAND_SPEAKS_ALWAYS:
                return true;
        case COMMAND_SPEAKS_WITH_VERB:
                return *command->verb != '\0';
        case COMMAND_SPEAKS_BELOW_OR_ENGINE:
                return node->engine || node_open(parent);
        case COMMAND_SPEAKS_BELOW:
                return node_open(parent);
        case COMMAND_SPEAKS_NEVER:
                break;
        }
        return false;
}

const char *node_hook_stage(Node *parent, const char *path) {
        static const struct {
                const char *verb;
                BundleStage first, last;
        } ranges[] = {
                { "create", BUNDLE_PRESTART, BUNDLE_POSTSTOP },  { "run", BUNDLE_PRESTART, BUNDLE_POSTSTOP },
                { "restore", BUNDLE_PRESTART, BUNDLE_POSTSTOP }, { "start", BUNDLE_START_CONTAINER, BUNDLE_POSTSTART },
                { "delete", BUNDLE_POSTSTOP, BUNDLE_POSTSTOP },
        };

        if (parent->kind != COMMAND_RUNTIME || !parent->owner)
                return NULL;
        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
                if (strcmp(parent->verb, ranges[i].verb) == 0)
                        return owner_hook_stage(parent->owner, path, ranges[i].first, ranges[i].last,
                                                &parent->hooks_used);
        return NULL;
}

void node_mark(Node *node, NodeMarkType type, uint64_t time_ns, uint64_t run_delay_ns, uint32_t pid) {
        NodeMark mark = { .time_ns = time_ns, .run_delay_ns = run_delay_ns, .pid = pid, .type = type };

        assert(node);

        if (node->finished || node->silent)
                return;
        if (!node->marks) {
                node->marks = calloc(NODE_MARKS_MAX, sizeof(*node->marks));
                if (!node->marks)
                        return;
        }

        if (type != NODE_MARK_CHILD_BEGIN && type != NODE_MARK_CHILD_END)
                for (size_t i = 0; i < node->n_marks; i++) {
                        if (node->marks[i].type != type)
                                continue;
                        if (type == NODE_MARK_ATTACH_FIRST)
                                node_mark(node, NODE_MARK_ATTACH_LAST, time_ns, run_delay_ns, pid);
                        else if (type == NODE_MARK_ATTACH_LAST)
                                node->marks[i] = mark;
                        return;
                }
        if (node->n_marks < NODE_MARKS_MAX)
                node->marks[node->n_marks++] = mark;
}

/* By insertion: they come nearly in order, and qsort(3) asks the system how much memory it may take. */
static void sort_marks(NodeMark *marks, size_t n) {
        for (size_t i = 1; i < n; i++) {
                NodeMark mark = marks[i];
                size_t at = i;

                for (; at > 0 && marks[at - 1].time_ns > mark.time_ns; at--)
                        marks[at] = marks[at - 1];
                marks[at] = mark;
        }
}

typedef struct Seen {
        bool init, child, mounts;
} Seen;

/* The name of the phase that ends with a mark of @type. */
static const char *phase_name(const Node *node, NodeMarkType type, const Seen *seen) {
        bool stages = strcmp(node->name, "runc") == 0 || strcmp(node->name, "youki") == 0;

        /* A monitor goes to the background before it starts the runtime, a shim leaves a server behind. */
        if (type == NODE_MARK_WAIT_END)
                return "wait for the engine";
        if (node->kind == COMMAND_MONITOR && seen->init)
                return "monitor set-up";
        if (node->kind == COMMAND_SHIM && seen->init)
                return "server set-up";

        switch (type) {
        case NODE_MARK_FORK:
        case NODE_MARK_WAIT_BEGIN:
        case NODE_MARK_WAIT_END:
        case NODE_MARK_ENTRY:
                return "start-up";
        case NODE_MARK_STAGE_0:
                return "init bootstrap";
        case NODE_MARK_STAGE_2:
                return "namespaces";
        case NODE_MARK_ATTACH_FIRST:
                return "cgroup set-up";
        case NODE_MARK_ATTACH_LAST:
                return "cgroup join";
        case NODE_MARK_MOUNT_FIRST:
                return "init start-up";
        case NODE_MARK_MOUNT_LAST:
                return "mounts";
        case NODE_MARK_CHILD_BEGIN:
                if (seen->child)
                        return "between hooks";
                if (seen->mounts)
                        return "before hooks";
                return seen->init && stages ? "mounts" : seen->init ? "container set-up" : "start-up";
        case NODE_MARK_CHILD_END:
        case NODE_MARK_EXIT:
                break;
        }
        if (seen->child || seen->mounts || strcmp(node->verb, "start") == 0)
                return "state saved";
        return strcmp(node->verb, "exec") == 0 ? "process set-up" : "mounts and state";
}

static bool is_phased(const Node *node) {
        static const char *const verbs[] = { "create", "run", "exec", "restore", "start", "delete" };

        if (node->kind == COMMAND_MONITOR || node->kind == COMMAND_SHIM)
                return true;
        if (node->kind != COMMAND_RUNTIME)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                if (strcmp(node->verb, verbs[i]) == 0)
                        return true;
        return false;
}

/* To join a cgroup means to wait for it first: what ends with being in the first cgroup began with writing to it. */
static void join_begins(const Node *node, NodeMark *marks, size_t n_marks) {
        for (size_t i = 0; i < n_marks; i++)
                for (size_t k = 0; marks[i].type == NODE_MARK_ATTACH_FIRST && k < node->work.n; k++) {
                        const Work *work = &node->work.items[k];

                        if (work->kind != EVENT_WORK_CGROUP || work->begin_ns > marks[i].time_ns ||
                            work->end_ns < marks[i].time_ns)
                                continue;
                        marks[i].time_ns = work->begin_ns;
                        marks[i].pid = 0;
                }
}

static bool is_init_set_up(const NodeMark *mark) {
        return mark->type == NODE_MARK_STAGE_2 || mark->type == NODE_MARK_ATTACH_LAST;
}

/*
 * Marks that follow from the work: when the container's init mounted, with nothing else in between; when a monitor
 * waited for the engine that put it into its cgroup. Returns how many there are now, two more at most.
 */
static size_t add_marks(const Node *node, NodeMark *marks, size_t n_marks) {
        uint64_t since = 0, until = node->end_ns, first = UINT64_MAX, last = 0;
        bool monitor = node->kind == COMMAND_MONITOR;

        for (size_t i = 0; i < n_marks; i++)
                if (is_init_set_up(&marks[i]))
                        since = MAX(since, marks[i].time_ns);
        for (size_t i = 0; i < n_marks; i++)
                if (marks[i].type == (monitor ? NODE_MARK_FORK : NODE_MARK_CHILD_BEGIN) && marks[i].time_ns > since)
                        until = MIN(until, marks[i].time_ns);
        if (!monitor && since == 0)
                return n_marks;

        for (size_t i = 0; i < node->work.n; i++) {
                const Work *work = &node->work.items[i];

                if (work->kind != (monitor ? EVENT_WAIT_PEER : EVENT_WORK_MOUNT) || work->begin_ns < since ||
                    work->end_ns > until)
                        continue;
                first = MIN(first, work->begin_ns);
                last = MAX(last, work->end_ns);
        }
        if (last == 0)
                return n_marks;
        marks[n_marks++] =
                (NodeMark){ .time_ns = first, .type = monitor ? NODE_MARK_WAIT_BEGIN : NODE_MARK_MOUNT_FIRST };
        marks[n_marks++] = (NodeMark){ .time_ns = last, .type = monitor ? NODE_MARK_WAIT_END : NODE_MARK_MOUNT_LAST };
        return n_marks;
}

size_t node_phases(const Node *node, NodePhase *ret, size_t max) {
        NodeMark marks[NODE_MARKS_MAX + 3];
        uint64_t cursor = node->begin_ns, last_delay = 0;
        uint32_t last_pid = 0;
        size_t n = 0, n_marks = node->n_marks;
        unsigned children = 0;
        Seen seen = {};

        if (n_marks == 0 || !is_phased(node))
                return 0;
        memcpy(marks, node->marks, n_marks * sizeof(*marks));
        join_begins(node, marks, n_marks);
        n_marks = add_marks(node, marks, n_marks);
        marks[n_marks++] = (NodeMark){ .time_ns = node->end_ns, .type = NODE_MARK_EXIT };
        sort_marks(marks, n_marks);

        for (size_t i = 0; i < n_marks && n < max; i++) {
                const NodeMark *mark = &marks[i];
                uint64_t at = MIN(mark->time_ns, node->end_ns);

                /* While a child runs, its own span tells. */
                if (children == 0 && at >= cursor + PHASE_MIN_NS) {
                        uint64_t delay = mark->pid != 0 && mark->pid == last_pid && mark->run_delay_ns > last_delay
                                                 ? mark->run_delay_ns - last_delay
                                                 : 0;

                        ret[n++] = (NodePhase){
                                .name = phase_name(node, mark->type, &seen),
                                .begin_ns = cursor,
                                .end_ns = at,
                                .run_delay_ns = MIN(delay, at - cursor),
                        };
                }

                seen.init |= mark->type == NODE_MARK_FORK;
                seen.mounts |= mark->type == NODE_MARK_MOUNT_LAST;
                if (mark->type == NODE_MARK_CHILD_BEGIN) {
                        seen.child = true;
                        children++;
                } else if (mark->type == NODE_MARK_CHILD_END && children > 0) {
                        children--;
                }
                cursor = MAX(cursor, at);
                last_pid = mark->pid;
                last_delay = mark->run_delay_ns;
        }
        return n;
}

uint64_t node_wall(const Node *node, uint64_t monotonic_ns) {
        return node->clk.realtime_ns + (monotonic_ns - node->clk.monotonic_ns);
}

static void span_title(const Node *node, char *ret, size_t size) {
        switch (node->kind) {
        case COMMAND_CNI:
                (void) snprintf(ret, size, "cni %s %s", node->name, node->verb);
                break;
        case COMMAND_SHIM:
                (void) snprintf(ret, size, "containerd-shim %s", node->verb);
                break;
        case COMMAND_RUNTIME:
        case COMMAND_MONITOR:
                (void) snprintf(ret, size, "%s%s%s", node->name, *node->verb ? " " : "", node->verb);
                break;
        default:
                (void) snprintf(ret, size, "%s", *node->name ? node->name : "process");
                break;
        }
}

int node_span_new(const Node *node, const char *name, const TraceContext *context, const TraceContext *parent,
                  Span **ret) {
        _cleanup_(span_freep) Span *span = NULL;
        Identity identity;
        int r;

        r = span_new(name, SPAN_KIND_INTERNAL, context, parent, &span);
        if (r < 0)
                return r;

        if (node->owner) {
                owner_identity(node->owner, &identity);
                span_set_identity(span, &identity);
                span_attr_str(span, "container.runtime.name", manager_name(owner_manager(node->owner)));
        }
        if (node->incomplete)
                span_attr_bool(span, "podspan.incomplete", true);
        *ret = TAKE_PTR(span);
        return 0;
}

int node_work_span(const Node *node, const char *name, const Work *work, const TraceContext *context,
                   const TraceContext *parent, Span **ret) {
        Span *span;
        int r;

        assert(work);
        assert(ret);

        r = node_span_new(node, name, context, parent, &span);
        if (r < 0)
                return r;
        span_set_time(span, node_wall(node, work->begin_ns), node_wall(node, work->end_ns));
        if (work->n > 0)
                span_attr_int(span, "podspan.work.calls", work->n);
        span_attr_int(span, "podspan.work.busy_ns", (int64_t) work->busy_ns);
        *ret = span;
        return 0;
}

void node_span_work(const Node *node, Span *span, uint64_t begin_ns, uint64_t end_ns, uint64_t run_delay_ns) {
        for (EventWork kind = EVENT_WORK_CREATE; kind < _EVENT_WORK_MAX; kind++) {
                uint64_t time_ns = work_within(&node->work, kind, begin_ns, end_ns);

                if (kind == EVENT_WAIT_CPU)
                        time_ns = MAX(time_ns, run_delay_ns);
                if (time_ns >= NSEC_PER_MSEC)
                        span_attr_int(span, work_attribute(kind), (int64_t) time_ns);
        }
}

int node_span(const Node *node, Span **ret) {
        _cleanup_(span_freep) Span *span = NULL;
        char title[128];
        int r;

        assert(node);
        assert(ret);

        span_title(node, title, sizeof(title));
        r = node_span_new(node, title, &node->context, &node->parent_context, &span);
        if (r < 0)
                return r;

        span_set_time(span, node_wall(node, node->begin_ns), node_wall(node, node->end_ns));
        span_attr_str(span, "process.executable.name", node->name);
        span_attr_int(span, "process.pid", node->pid);
        span_attr_str(span, "oci.hook.stage", node->stage);
        span_attr_str(span, "podspan.cni.interface", node->ifname);
        node_span_work(node, span, node->begin_ns, node->end_ns, node->run_delay_ns);
        exitstatus_set_wait(span, node->status, NULL);
        for (size_t i = 0; i < node->n_links; i++)
                span_link(span, &node->links[i], node->why[i]);
        *ret = TAKE_PTR(span);
        return 0;
}
