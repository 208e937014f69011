#pragma once

/*
 * Node
 *
 * A span to be: one command from exec to exit, with the marks its processes left on the way, and the phases that
 * follow from them. Referenced by the processes that work for it and by the nodes below it.
 */

#include "clk.h"
#include "command.h"
#include "death.h"
#include "owner.h"
#include "report.h"
#include "span.h"
#include "work.h"

#define NODE_MARKS_MAX 48

typedef enum NodeMarkType {
        NODE_MARK_FORK,         /* its first child */
        NODE_MARK_STAGE_0,      /* runc:[0:PARENT] */
        NODE_MARK_STAGE_2,      /* runc:[2:INIT] */
        NODE_MARK_ATTACH_FIRST, /* into the first cgroup … */
        NODE_MARK_ATTACH_LAST,  /* … and the last */
        NODE_MARK_MOUNT_FIRST,  /* the container's init mounts … */
        NODE_MARK_MOUNT_LAST,   /* … until here */
        NODE_MARK_WAIT_BEGIN,   /* a monitor waits for its engine */
        NODE_MARK_WAIT_END,
        NODE_MARK_ENTRY,       /* of start: the container's command has begun */
        NODE_MARK_CHILD_BEGIN, /* a hook or helper */
        NODE_MARK_CHILD_END,
        NODE_MARK_EXIT,
} NodeMarkType;

typedef struct NodeMark {
        uint64_t time_ns;
        uint64_t run_delay_ns; /* of the task that left it */
        uint32_t pid;          /* its process */
        NodeMarkType type;
} NodeMark;

typedef struct NodePhase {
        const char *name; /* a literal */
        uint64_t begin_ns, end_ns;
        uint64_t run_delay_ns; /* waited for a CPU, as far as known */
} NodePhase;

#define NODE_STATUS_UNKNOWN (-1) /* nobody saw how the process ended, or it has not */

typedef struct Node Node;

struct Node {
        unsigned n_refs;
        Node *parent; /* a reference; what it was started by, or NULL */
        Owner *owner; /* a reference, or NULL */

        CommandKind kind;
        bool nested;    /* its span is below the parent's, in the parent's trace */
        bool silent;    /* no span */
        bool mute;      /* none below it either */
        bool engine;    /* has a container engine above it, or is one */
        bool ours;      /* is, or is below, a program of podspan's */
        bool monitored; /* a podspan monitor tells of the call as a whole, and how the container ends */
        bool withheld;  /* silent, because a program of podspan's reports of it */
        bool serves;    /* an engine: CRI calls have caused commands of it */
        bool live;      /* a CRI call in flight has caused it */
        bool found;     /* it ran already: only the end of its container is told */
        bool busy;      /* counted as under way */
        bool hold;      /* a probe: spans only if it fails or is slow */
        bool finished;
        bool incomplete;
        char name[COMMAND_NAME_MAX + 1];
        char verb[16];
        char ifname[16];
        const char *stage; /* of a hook; a literal */

        TraceContext context;
        TraceContext parent_context; /* zero span id: a root */
        TraceContext call;           /* what the container's life is below */
        TraceContext made;           /* of a reporter: the runtime's call that it made */
        TraceContext *links;         /* of a command at the top */
        const char **why;
        size_t n_links;

        Clk clk;
        uint64_t begin_ns, end_ns, last_ns;
        uint64_t run_delay_ns;
        uint32_t pid, uid;
        int status; /* of wait(2), or NODE_STATUS_UNKNOWN */
        uint32_t hooks_used;
        unsigned n_children;
        NodeMark *marks; /* allocated with the first */
        size_t n_marks;
        WorkList work;
        WorkList runs; /* of an engine: when it was on a CPU */

        Reporter reporter; /* a program of podspan's that reports: its process; pid 0: it does not */
        uint64_t gone_ns;  /* when that process ended; 0: it has not, as far as is known */
        bool killed;       /* it was killed, and has not reported what ended since */
        int child_status;  /* of what it ran last, or NODE_STATUS_UNKNOWN */

        Span **held; /* with hold */
        size_t n_held;

        uint64_t start_ns;     /* `start` began, of what this one created; 0: not seen */
        uint64_t entry_ns;     /* exec of the container's command */
        char *cgroup;          /* of what limits the container's memory; NULL: not known */
        int container_status;  /* how it ended, or -1 */
        DeathVictims *victims; /* of the OOM killer, in the container; NULL: none */
};

/* A node with one reference, NULL without memory. @parent is referenced. */
Node *node_new(Node *parent, const Command *command, uint32_t pid, uint64_t begin_ns, const Clk *clk);
/* Releases what it holds, and its reference to the parent, which is returned for the caller to drop. */
Node *node_free(Node *node);

/* Drops what only its own spans needed. */
void node_forget(Node *node);

/* Is it a span that is still open? */
bool node_open(const Node *node);

/* The program of podspan's that reports of what @node does, the nearest one above it; NULL if there is none. */
Node *node_reporter(const Node *node);

/* What the life of the container that @node makes is below. */
const TraceContext *node_life_parent(const Node *node);

/* Does @command, as @node below @parent, become a span at all, wherever it is? */
bool node_speaks(const Node *node, const Command *command, const Node *parent);

/* The stage of the hook with @path that @parent runs next, by what @parent does; NULL if it is none. */
const char *node_hook_stage(Node *parent, const char *path);

/* Leaves a mark; of ATTACH only the first and the last are kept, of FORK and the stages the first. */
void node_mark(Node *node, NodeMarkType type, uint64_t time_ns, uint64_t run_delay_ns, uint32_t pid);

/* Divides the node's time by its marks. Returns the number of phases written to @ret, at most @max. */
size_t node_phases(const Node *node, NodePhase *ret, size_t max);

/* Monotonic → wall clock, with the one offset of this node. */
uint64_t node_wall(const Node *node, uint64_t monotonic_ns);

/* Its span, with everything but the phases. 0 with a span owned by the caller, or a negative errno. */
int node_span(const Node *node, Span **ret);
/* A span of @node's owner called @name, in @context below @parent. */
int node_span_new(const Node *node, const char *name, const TraceContext *context, const TraceContext *parent,
                  Span **ret);
/* A span of a piece of work for it, called @name. */
int node_work_span(const Node *node, const char *name, const Work *work, const TraceContext *context,
                   const TraceContext *parent, Span **ret);
/*
 * Says what the interval went to, per kind that took a millisecond. @run_delay_ns: how long the thread that is
 * known waited for a CPU.
 */
void node_span_work(const Node *node, Span *span, uint64_t begin_ns, uint64_t end_ns, uint64_t run_delay_ns);
