/*
 * A process works for a node: the one of the process that forked it, until it executes a program that is a command of
 * its own. A runtime's "init" helpers therefore leave their marks with the runtime, a hook's children nest below the
 * hook, and what outlives its command (the container's init, a monitor that has gone to the background) keeps the
 * node until it ends.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "cgroup.h"
#include "life.h"
#include "story.h"
#include "tell.h"

#define BUCKETS 1024

typedef struct Process Process;

struct Process {
        Process *next; /* in its bucket */
        uint64_t start_ns;
        uint32_t pid;
        Reporter forker; /* what forked it; pid 0: not known */
        bool own;        /* it is the node's command itself */
        bool container;  /* it has become a container's own */
        bool doubtful;   /* may have executed a program that we have not been told of */
        bool astray;     /* forked by a doubtful one: the node is its ancestors', perhaps not the nearest */
        bool gone;       /* it has ended, as the system says */
        Node *node;      /* a reference, or NULL */
};

struct Story {
        Tell tell;
        uint64_t slow_ns, start_window_ns;
        size_t n_processes;
        uint32_t n_lost;  /* of the last event */
        uint64_t time_ns; /* … and when that was */
        size_t n_busy;    /* commands at the top that are under way */
        uint64_t busy_ns; /* when the last of them began */
        Process *buckets[BUCKETS];
};

void story_set_bounds(Story *story, uint64_t slow_ns, uint64_t start_window_ns) {
        story->slow_ns = slow_ns;
        story->start_window_ns = start_window_ns;
}

int story_new(const StoryHost *host, uint64_t slow_ns, uint64_t start_window_ns, Story **ret) {
        Story *story;

        assert(host);
        assert(ret);

        story = calloc(1, sizeof(*story));
        if (!story)
                return -ENOMEM;
        story->tell.host = *host;
        story_set_bounds(story, slow_ns, start_window_ns);
        *ret = story;
        return 0;
}

static void finish(Story *story, Node *node, uint64_t time_ns, int status) {
        Node *parent = node->parent;

        if (node->finished)
                return;
        node->end_ns = MAX(time_ns, node->begin_ns);
        node->status = status;

        if (!node->silent)
                tell_node(&story->tell, node);
        else if (node->withheld)
                tell_withheld(&story->tell, node);
        if (parent && parent->reporter.pid != 0)
                parent->child_status = status;
        node->finished = true;
        node_forget(node);
        if (node->busy)
                story->n_busy--;
        node->busy = false;

        if (!node_open(parent))
                return;
        node_mark(parent, NODE_MARK_CHILD_END, node->end_ns, 0, 0);
        /* What a monitor does after that is its long life, not the start that somebody waits for. */
        if (parent->kind == COMMAND_MONITOR && node->kind == COMMAND_RUNTIME && node->nested)
                finish(story, parent, node->end_ns, NODE_STATUS_UNKNOWN);
}

static void unref(Story *story, Node *node) {
        while (node && --node->n_refs == 0) {
                Node *parent = node->parent;

                finish(story, node, node->last_ns, node->status);
                if (node->nested) {
                        parent->last_ns = MAX(parent->last_ns, node->last_ns);
                        if (node->container_status > parent->container_status)
                                parent->container_status = node->container_status;
                        if (node->status > 0 && node->kind == COMMAND_RUNTIME && parent->kind == COMMAND_MONITOR)
                                parent->status = node->status;
                }
                if (node->hold && !(node->nested && parent->hold))
                        tell_probe(&story->tell, node, story->slow_ns);
                node = node_free(node);
        }
}

static Process **find_slot(const Story *story, uint32_t pid) {
        Process **slot = (Process **) &story->buckets[pid % BUCKETS];

        while (*slot && (*slot)->pid != pid)
                slot = &(*slot)->next;
        return slot;
}

/* Is it the process of a program of ours that reports of what its node does? */
static bool is_reporter(const Process *process) {
        const Node *node = process->node;

        return node && node->reporter.pid == process->pid && node->reporter.start_ns == process->start_ns;
}

static void forget(Story *story, Process **slot) {
        Process *process = *slot;

        /* How it ended is not known, but what ends long after this it cannot report. */
        if (is_reporter(process) && process->node->gone_ns == 0)
                process->node->gone_ns = story->time_ns;
        *slot = process->next;
        unref(story, process->node);
        free(process);
        story->n_processes--;
}

/* The process of an event. Another start time under the same pid is another process: the old one's exit was lost. */
static Process *find_process(Story *story, const Event *event) {
        Process **slot = find_slot(story, event->pid);

        if (*slot && (*slot)->start_ns != event->start_ns) {
                if ((*slot)->node)
                        (*slot)->node->incomplete = true;
                forget(story, slot);
                return NULL;
        }
        return *slot;
}

/* 0 with a new process, or -ENOMEM; -EUSERS above the bound. */
static int add_process(Story *story, const Event *event, Node *node, Process **ret) {
        Process *process;

        if (story->n_processes >= STORY_PROCESSES_MAX) {
                story->tell.n_dropped++;
                return -EUSERS;
        }
        process = calloc(1, sizeof(*process));
        if (!process)
                return -ENOMEM;

        process->pid = event->pid;
        process->start_ns = event->start_ns;
        process->node = node;
        if (node)
                node->n_refs++;
        process->next = story->buckets[event->pid % BUCKETS];
        story->buckets[event->pid % BUCKETS] = process;
        story->n_processes++;
        *ret = process;
        return 0;
}

static int process_fork(Story *story, const Event *event) {
        const Event parent = { .pid = event->parent, .start_ns = event->parent_start_ns };
        Process **slot, *process;
        int r;

        /* Where the ends of two processes were lost, each may have another's pid. */
        (void) find_process(story, event);
        if (parent.start_ns != 0)
                (void) find_process(story, &parent);
        slot = find_slot(story, event->parent);
        if (!*slot || *find_slot(story, event->pid))
                return 0;
        r = add_process(story, event, (*slot)->node, &process);
        if (r < 0)
                return r == -EUSERS ? 0 : r;
        process->forker = (Reporter){ (*slot)->pid, (*slot)->start_ns };
        process->astray = (*slot)->astray || (*slot)->doubtful;
        if ((*slot)->own)
                node_mark((*slot)->node, NODE_MARK_FORK, event->time_ns, event->run_delay_ns, 0);
        return 0;
}

/* Puts @node below @parent, whose owner and trace it shares. */
static int nest(Story *story, Node *node, Node *parent, const Command *command) {
        Node *top = parent;

        while (top->nested)
                top = top->parent;
        if (++top->n_children > STORY_CHILDREN_MAX) {
                story->tell.n_dropped++;
                node->silent = node->mute = true;
                return 0;
        }
        node->nested = true;
        node->clk = parent->clk; /* or a child could end some nanoseconds after its parent */
        node->owner = owner_ref(parent->owner);
        node->parent_context = parent->context;
        node->stage = node_hook_stage(parent, command->path);
        return tracecontext_new_child(&parent->context, &node->context);
}

/* Are both about one container? One that a user calls by the id of another's is that user's own. */
static bool is_of(const Node *node, const Node *other) {
        return node->owner && other->owner && node->uid == other->uid &&
               strcmp(owner_id(node->owner), owner_id(other->owner)) == 0;
}

/* The command that made the running container that @node is about, or NULL. */
static const Node *find_creator(const Story *story, const Node *node) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (const Process *process = story->buckets[i]; process; process = process->next)
                        if (process->container && process->node && !process->node->hold && is_of(process->node, node))
                                return process->node;
        return NULL;
}

/* A probe that nobody else knows the start of leads back to the command that we have seen. */
static void lead_back(const Story *story, const Node *node, StoryOrigin *origin) {
        const Node *creator = node->hold && origin->n_links == 0 ? find_creator(story, node) : NULL;

        if (creator && !creator->silent) {
                origin->links[0] = creator->context;
                origin->why[0] = "start";
                origin->n_links = 1;
        }
}

/* The engine above @node serves CRI calls. */
static void note_engine(const Node *node) {
        for (Node *above = node->parent; above; above = above->parent)
                if (above->kind == COMMAND_ENGINE)
                        above->serves = true;
}

/* Finds out whose @node at the top is. -ENOENT: nobody's. */
static int place(Story *story, Node *node, const Command *command) {
        StoryOrigin origin = {};
        int r;

        r = story->tell.host.find(story->tell.host.userdata, command, node_wall(node, node->begin_ns), &origin);
        if (r < 0)
                return r;

        node->owner = origin.owner;
        lead_back(story, node, &origin);
        node->parent_context = origin.parent;
        node->call = origin.call;
        node->live = origin.live;
        if (origin.live)
                note_engine(node);
        if (origin.n_links > 0) {
                node->links = calloc(origin.n_links, sizeof(*node->links));
                node->why = calloc(origin.n_links, sizeof(*node->why));
                if (!node->links || !node->why)
                        return -ENOMEM;
                memcpy(node->links, origin.links, origin.n_links * sizeof(*node->links));
                memcpy(node->why, origin.why, origin.n_links * sizeof(*node->why));
                node->n_links = origin.n_links;
        }
        /* A monitor of ours that hands on a context speaks itself: what is seen here goes below its span of the call.
         */
        node->monitored = node->ours && node->kind == COMMAND_RUNTIME && command->has_traceparent && command->uid == 0;
        if (!node->monitored)
                return tracecontext_new_child(&origin.parent, &node->context);

        /* Its span, should the monitor not live to report it: as the monitor would have made it. */
        node->context = command->traceparent;
        node->parent_context = origin.call;
        if (memcmp(origin.call.trace_id, node->context.trace_id, sizeof(origin.call.trace_id)) != 0) {
                node->parent_context = node->context;
                memset(node->parent_context.span_id, 0, sizeof(node->parent_context.span_id));
        }
        return 0;
}

/* What a monitor of ours makes says whose it is. */
static void adopt(const Node *node) {
        Node *monitor = node_reporter(node);

        if (!monitor || monitor->nested || monitor->owner)
                return;
        monitor->owner = owner_ref(node->owner);
        monitor->made = node->context;
        monitor->parent_context = *node_life_parent(node);
}

/*
 * @node is podspan-hook, which reports of itself and of what it wraps, or what it wraps: silent, but known in case that
 * podspan-hook is killed. Returns 0 or a negative errno.
 */
static int withhold(Story *story, Node *node, Node *parent, const Command *command) {
        bool wrapped = node_reporter(node) == parent && parent->nested;
        int r;

        if (!wrapped && (!node_open(parent) || parent->kind != COMMAND_RUNTIME))
                return 0;
        r = nest(story, node, parent, command);
        if (r < 0 || !node->nested)
                return r;
        if (wrapped) {
                node->stage = parent->stage;
                node->withheld = true;
        } else {
                node->reporter = (Reporter){ node->pid, command->start_ns };
        }
        return 0;
}

static bool is_of_crio(const Node *above) {
        while (above && above->kind != COMMAND_ENGINE)
                above = above->parent;
        return above && strcmp(above->name, "crio") == 0;
}

static bool same_container(const Node *parent, const Command *command) {
        return !*command->id || (parent->owner && strcmp(owner_id(parent->owner), command->id) == 0);
}

/* `start` has begun for the container that another command created: what it waited for until now is over. */
static void note_start(Story *story, const Node *start) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process *process = story->buckets[i]; process; process = process->next) {
                        Node *node = process->node;

                        if (node && node->kind == COMMAND_RUNTIME && node->finished && node->entry_ns == 0 &&
                            strcmp(node->verb, "create") == 0 && is_of(node, start))
                                node->start_ns = start->begin_ns;
                }
}

static bool is_hook(const Command *command) {
        return strcmp(command->name, "podspan-hook") == 0;
}

/* @above: the command that @process works for until now, or NULL. */
static int begin(Story *story, Process *process, const Event *event, const Command *command, Node *above,
                 const Clk *now) {
        /* Who has gone astray may be silent like its ancestors, but is below none of them. */
        Node *parent = process->astray ? NULL : above, *node;
        bool mute = above && above->mute, engine = above && above->engine, ours = above && above->ours;
        bool poll;
        int r;

        node = node_new(parent, command, event->pid, event->time_ns, now);
        if (!node)
                return -ENOMEM;
        unref(story, process->node);
        process->node = node;
        process->own = true;
        process->doubtful = process->astray = false;

        /* Marked whether it becomes a span or not: its time is not the runtime's own. */
        if (node_open(parent))
                node_mark(parent, NODE_MARK_CHILD_BEGIN, node->begin_ns, 0, 0);

        /* The process that forks what a monitor runs is the monitor; the first one was its launcher, and may be gone.
         */
        if (parent && parent->kind == COMMAND_OURS && !parent->mute && !parent->owner && process->forker.pid != 0 &&
            process->forker.pid != parent->reporter.pid) {
                parent->reporter = process->forker;
                parent->gone_ns = 0;
                parent->killed = false;
        }

        node->mute = mute || is_hook(command);
        node->engine = command->kind == COMMAND_ENGINE || engine;
        if (command->kind == COMMAND_ENGINE && command->uid == 0 && story->tell.host.engine)
                story->tell.host.engine(story->tell.host.userdata, command);
        node->ours = command->kind == COMMAND_OURS || ours;
        node->silent = node->mute || !node_speaks(node, command, parent);
        poll = !node->silent && command_is_poll(command);
        if (poll && (command->kind != COMMAND_RUNTIME || !*command->id)) {
                node->silent = node->mute = true;
                story->tell.host.counted(story->tell.host.userdata, command);
        }
        if (command->kind == COMMAND_OURS && !node->mute)
                node->reporter = (Reporter){ event->pid, event->start_ns };
        if (node->mute && parent && (is_hook(command) || parent->reporter.pid != 0))
                return withhold(story, node, parent, command) == -ENOMEM ? -ENOMEM : 0;
        if (node->silent)
                return 0;

        node->hold = strcmp(command->verb, "exec") == 0;
        if (node_open(parent) && same_container(parent, command))
                r = nest(story, node, parent, command);
        else if (command->kind == COMMAND_OTHER)
                r = -ENOENT;
        else
                r = place(story, node, command);
        if (r >= 0 && node->kind == COMMAND_RUNTIME && node->ours)
                adopt(node);
        if (r >= 0 && node->kind == COMMAND_RUNTIME && strcmp(node->verb, "start") == 0)
                note_start(story, node);
        if (poll && r == -ENOENT) {
                node->mute = true; /* no call waits for it */
                story->tell.host.counted(story->tell.host.userdata, command);
        }
        if (event->flags & EVENT_FOUND)
                node->silent = true; /* its start is long over */
        node->busy = r >= 0 && !node->nested && !node->hold && !node->silent;
        if (node->busy) {
                story->n_busy++;
                story->busy_ns = node->begin_ns;
        }
        if (r < 0)
                node->silent = true; /* nobody's, or no memory: its own children may still be somebody's */
        return r == -ENOMEM ? r : 0;
}

/* The command that has made @created begin has reached its aim. */
static void note_entry(Story *story, const Node *created, const Event *event) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process *process = story->buckets[i]; process; process = process->next) {
                        Node *node = process->node;

                        if (process->own && node && node->kind == COMMAND_RUNTIME && node_open(node) &&
                            strcmp(node->verb, "start") == 0 && is_of(node, created))
                                node_mark(node, NODE_MARK_ENTRY, event->time_ns, 0, 0);
                }
}

static int process_entrypoint(Story *story, Process *process, const Event *event) {
        Node *node = process->node;

        process->container = true;
        process->own = false;
        if (process->astray) {
                /* Somebody's container, perhaps not theirs whose node it has. */
                process->node = NULL;
                unref(story, node);
                return 0;
        }
        if (!node || node->kind != COMMAND_RUNTIME || node->silent)
                return 0;
        if (!node->hold)
                note_entry(story, node, event);
        return life_begin(&story->tell, node, event);
}

/*
 * A container's first process that runs already, below the monitor or shim @event->parent; @data is the name of its
 * cgroup. Nothing is told of its start: only its end is still to come.
 */
static int process_found(Story *story, const Event *event, const char *data, size_t size, const Clk *now) {
        const Event parent_event = { .pid = event->parent, .start_ns = event->parent_start_ns };
        Process *above = find_process(story, &parent_event), *process = *find_slot(story, event->pid);
        Command command = { .kind = COMMAND_RUNTIME, .verb = "create", .uid = event->uid };
        Node *node, *parent = above ? above->node : NULL;
        Owner *known;
        int r;

        if (!parent || (parent->ours && (parent->reporter.pid == 0 || strcmp(parent->verb, "exec") == 0)))
                return 0;
        known = parent->kind == COMMAND_MONITOR && !above->doubtful && !above->astray ? parent->owner : NULL;
        if (parent->hold || (process && process->node && process->node->hold))
                return 0;
        if (known)
                (void) snprintf(command.id, sizeof(command.id), "%s", owner_id(known));
        else if (cgroup_parse_container(data, strnlen(data, size), command.id) < 0)
                return 0;

        /* A monitor of ours reports how it ends, if it lives for as long. */
        node = node_new(parent->ours ? parent : NULL, &command, event->pid, event->time_ns, now);
        if (!node)
                return -ENOMEM;
        node->finished = node->found = true;
        r = place(story, node, &command);
        if (r >= 0 && parent->ours) {
                node->ours = node->monitored = true;
                adopt(node);
        }
        if (r >= 0 && find_creator(story, node))
                r = -EEXIST; /* not the first: it has joined the container */
        if (r >= 0 && process)
                forget(story, find_slot(story, event->pid)); /* the exec of its command was lost */
        if (r >= 0)
                r = add_process(story, event, node, &process);
        if (r >= 0) {
                process->container = true;
                node->entry_ns = event->time_ns - MIN(event->age_ns, event->time_ns);
                life_found(&story->tell, node, event);
        }
        unref(story, node);
        return r == -ENOMEM ? r : 0;
}

static int process_exec(Story *story, const Event *event, const char *data, size_t size, const Clk *now) {
        Process *process = find_process(story, event);
        Command command;
        Node *node;
        int r;

        if (event->flags & EVENT_CONTAINER)
                return process_found(story, event, data, size, now);
        if (event->flags & EVENT_ENTRYPOINT)
                return process ? process_entrypoint(story, process, event) : 0;

        r = command_parse(event, data, size, &command);
        if (r < 0)
                return r;
        if (!process) {
                /* Of an unknown ancestry only a program known by name counts. */
                if (!(event->flags & EVENT_NAMED))
                        return 0;
                r = add_process(story, event, NULL, &process);
                if (r < 0)
                        return r == -EUSERS ? 0 : r;
        }

        process->doubtful = true; /* until it is known what it is */
        node = process->node;
        command.of_crio = !process->astray && is_of_crio(node);
        if (command.claimed && command.kind != COMMAND_CNI && (!node || node->kind != command.kind))
                command.kind = COMMAND_OTHER;
        /* A runtime's helper works for the runtime; what executes itself again, or a script its interpreter, stays. */
        if ((node && command.kind == COMMAND_RUNTIME && strcmp(command.verb, "init") == 0) ||
            (process->own && !node->finished && (!node->silent || node->withheld) &&
             (command.kind == COMMAND_OTHER ||
              (command.kind == node->kind && (!*command.verb || strcmp(command.verb, node->verb) == 0))))) {
                process->doubtful = false;
                return 0;
        }

        if (process->own && !node->finished) {
                /* Another command in the same process: the first one ends here. */
                Node *parent = node->parent;

                finish(story, node, event->time_ns, NODE_STATUS_UNKNOWN);
                return begin(story, process, event, &command, parent, now);
        }
        return begin(story, process, event, &command, node, now);
}

static void process_rename(Story *story, const Event *event) {
        Process *process = find_process(story, event);
        const char *stage = memchr(event->comm, '[', sizeof(event->comm) - 1);

        if (!process || process->astray || !process->node || process->node->kind != COMMAND_RUNTIME || !stage)
                return;
        node_mark(process->node, stage[1] == '2' ? NODE_MARK_STAGE_2 : NODE_MARK_STAGE_0, event->time_ns,
                  event->run_delay_ns, event->pid);
}

static void process_attach(Story *story, const Event *event) {
        Process *process = find_process(story, event);

        if (process && !process->astray && process->node && process->node->kind == COMMAND_RUNTIME && !process->own)
                node_mark(process->node, NODE_MARK_ATTACH_FIRST, event->time_ns, event->run_delay_ns, event->pid);
}

static void process_work(Story *story, const Event *event) {
        Process *process = find_process(story, event);
        Node *node = process && !process->astray ? process->node : NULL;

        if (!node || node->finished || (node->kind == COMMAND_ENGINE ? !process->own : node->silent))
                return;
        work_add(event->status == EVENT_WORK_RUN ? &node->runs : &node->work, (EventWork) event->status, event->time_ns,
                 event->length_ns);
}

/* The container whose first process @pid was at @start_ns. NULL: it is not known. */
static const char *find_container(const Story *story, uint32_t pid, uint64_t start_ns) {
        const Process *process = pid != 0 ? *find_slot(story, pid) : NULL;

        return process && process->start_ns == start_ns && process->container && process->node && process->node->owner
                       ? owner_id(process->node->owner)
                       : NULL;
}

static int container_exit(Story *story, Node *node, const Event *event, const char *data, size_t size, const Clk *now) {
        char id[IDENTITY_ID_MAX + 1];
        const char *sender = NULL;
        const EventSignal *cause;
        EventDeath death;
        int r;

        r = death_parse(data, size, &death);
        if (r < 0)
                return r;
        cause = death_cause(&death, event->status);
        if (cause && cause->sender == EVENT_SENDER_CONTAINER) {
                sender = find_container(story, cause->first_pid, cause->first_start_ns);
                if (!sender && cgroup_parse_container(cause->group, strlen(cause->group), id) >= 0)
                        sender = id;
        }
        return life_end(&story->tell, node, event, &death, sender, now, story->start_window_ns);
}

/* The OOM killer has chosen a process: an event of the container, and if it is an exec's, how that ends, too. */
static int process_victim(Story *story, const Event *event, const char *data, size_t size) {
        const Process *first, *process = find_process(story, event);
        EventVictim victim;
        int r;

        r = death_parse_victim(data, size, &victim);
        if (r < 0)
                return r;
        first = victim.first_pid != 0 ? *find_slot(story, victim.first_pid) : NULL;
        if (first && first->start_ns == victim.first_start_ns && first->container && first->node)
                r = life_victim(first->node, event, &victim);
        if (r >= 0 && process && process != first && process->container && process->node)
                r = life_victim(process->node, event, &victim);
        return r;
}

static int process_exit(Story *story, const Event *event, const char *data, size_t size, const Clk *now) {
        Process *process = find_process(story, event);
        int r = 0;

        if (!process)
                return 0;
        if (process->node) {
                Node *node = process->node;

                node->last_ns = MAX(node->last_ns, event->time_ns);
                for (Node *above = node; above && event->flags & (EVENT_CROWDED | EVENT_LET_GO); above = above->parent)
                        if (!above->finished)
                                above->incomplete = true;
                if (event->flags & EVENT_LET_GO) {
                        if (process->own && !node->finished) {
                                node->silent = true; /* how it ends is not known */
                                node->withheld = false;
                        }
                } else if (process->container) {
                        r = container_exit(story, node, event, data, size, now);
                } else if (process->own && (node->kind != COMMAND_MONITOR || node->n_refs == 1)) {
                        node->run_delay_ns = event->run_delay_ns;
                        finish(story, node, event->time_ns, event->status);
                }
                if (is_reporter(process) && event->flags & EVENT_LET_GO)
                        node->reporter.pid = 0; /* it goes on reporting, and its end will not be seen */
                else if (is_reporter(process))
                        tell_reporter_end(&story->tell, node, event, now, story->start_window_ns);
        }
        forget(story, find_slot(story, event->pid));
        return r;
}

int story_event(Story *story, const Event *event, const char *data, size_t size, const Clk *now) {
        assert(story);
        assert(event);
        assert(now);

        if (event->n_lost != story->n_lost) {
                story_lost(story);
                story->n_lost = event->n_lost;
        }

        story->time_ns = event->time_ns;

        switch (event->type) {
        case EVENT_FORK:
                return process_fork(story, event);
        case EVENT_EXEC:
                return process_exec(story, event, data, size, now);
        case EVENT_RENAME:
                process_rename(story, event);
                return 0;
        case EVENT_ATTACH:
                process_attach(story, event);
                return 0;
        case EVENT_EXIT:
                return process_exit(story, event, data, size, now);
        case EVENT_WORK:
                process_work(story, event);
                return 0;
        case EVENT_VICTIM:
                return process_victim(story, event, data, size);
        default:
                return -EBADMSG;
        }
}

void story_call(Story *story, const StoryCall *call) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (const Process *process = story->buckets[i]; process; process = process->next)
                        if (process->own && process->node && process->node->kind == COMMAND_ENGINE &&
                            process->node->serves)
                                tell_engine(&story->tell, process->node, call);
}

void story_forget_work(Story *story, uint64_t time_ns) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (const Process *process = story->buckets[i]; process; process = process->next)
                        if (process->own && process->node && process->node->kind == COMMAND_ENGINE) {
                                work_forget(&process->node->work, time_ns);
                                work_forget(&process->node->runs, time_ns);
                        }
}

bool story_busy(const Story *story, uint64_t monotonic_ns) {
        return story->n_busy > 0 && monotonic_ns < story->busy_ns + STORY_BUSY_NS;
}

void story_lost(Story *story) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process *process = story->buckets[i]; process; process = process->next) {
                        for (Node *node = process->node; node; node = node->parent)
                                if (!node->finished)
                                        node->incomplete = true;
                        /* A runtime, an engine … becomes nothing else; a script may. */
                        process->doubtful |= !process->container &&
                                             (!process->own || !process->node || process->node->kind == COMMAND_OTHER);
                }
}

bool story_knows(const Story *story, const Event *event) {
        const Process *process = *find_slot(story, event->pid);

        return process && process->start_ns == event->start_ns &&
               (!(event->flags & EVENT_CONTAINER) || (process->container && process->node));
}

bool story_has(const Story *story, uint32_t pid) {
        return *find_slot(story, pid);
}

void story_note_gone(Story *story, bool (*gone)(void *userdata, uint32_t pid, uint64_t start_ns), void *userdata) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process *process = story->buckets[i]; process; process = process->next)
                        process->gone = gone(userdata, process->pid, process->start_ns);
}

void story_forget_gone(Story *story) {
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process **slot = &story->buckets[i]; *slot;)
                        if ((*slot)->gone) {
                                if ((*slot)->node && !(*slot)->node->finished)
                                        (*slot)->node->incomplete = true;
                                forget(story, slot);
                        } else {
                                slot = &(*slot)->next;
                        }
}

StoryStats story_stats(const Story *story) {
        return (StoryStats){ .n_processes = story->n_processes, .n_dropped = story->tell.n_dropped };
}

Story *story_free(Story *story) {
        if (!story)
                return NULL;

        /* What is still open did not end: no span is made of it. */
        for (size_t i = 0; i < BUCKETS; i++)
                for (Process *process = story->buckets[i]; process; process = process->next)
                        for (Node *node = process->node; node && !node->finished; node = node->parent)
                                node->silent = node->finished = true;
        for (size_t i = 0; i < BUCKETS; i++)
                while (story->buckets[i])
                        forget(story, &story->buckets[i]);
        reports_deinit(&story->tell.reports);
        free(story);
        return NULL;
}
