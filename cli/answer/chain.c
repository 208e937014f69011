#include <stdio.h>
#include <string.h>
#include "chain.h"
#include "clk.h"
#include "enginefind.h"
#include "operations.h"

#define SLACK_NS                                                                                            \
        (2 * NSEC_PER_SEC) /* a process may seem this much older than its call: clock ticks, and a new file \
                            */

static void copy(char *to, size_t size, const char *from) {
        util_copy_bounded(to, size, from, strlen(from));
}

#define COPY(to, from) copy(to, sizeof(to), from)

bool chain_is_pod(const Identity *identity, const char *pod) {
        const char *slash = strchr(pod, '/');
        size_t n = slash ? (size_t) (slash - pod) : 0;

        if (slash)
                return strlen(identity->pod_namespace) == n && memcmp(identity->pod_namespace, pod, n) == 0 &&
                       strcmp(identity->pod_name, slash + 1) == 0;
        if (!*identity->pod_name && !*identity->pod_uid && strcmp(identity->container_name, pod) == 0)
                return *pod;
        return *pod && (strcmp(identity->pod_name, pod) == 0 || strcmp(identity->pod_uid, pod) == 0);
}

const char *chain_role(const Proc *proc) {
        switch (proc->kind) {
        case PODOF_ENGINE:
                return "engine";
        case PODOF_SHIM:
                return "shim";
        case PODOF_MONITOR:
                return "monitor";
        case PODOF_RUNTIME:
                return "runtime";
        case PODOF_KUBELET:
                return "kubelet";
        case PODOF_OTHER:
        case _PODOF_KIND_MAX:
                break;
        }
        if (proc->podof && *proc->podof->cni)
                return "CNI plugin";
        if (proc->podof && proc->podof->is_volume)
                return "volume helper";
        if (proc->trusted && proc->below_runtime)
                return "hook";
        return "";
}

static Chain *add(Chains *chains) {
        if (chains->n == CHAIN_CALLS_MAX)
                return NULL;
        if (chains->n == chains->n_allocated) {
                size_t n = chains->n_allocated == 0 ? 16 : 2 * chains->n_allocated;
                Chain *more = reallocarray(chains->chains, n, sizeof(*more));

                if (!more)
                        return NULL;
                chains->chains = more;
                chains->n_allocated = n;
        }
        chains->chains[chains->n] = (Chain){ .none = CHAIN_NO_ENGINE };
        return &chains->chains[chains->n++];
}

typedef struct Load {
        Chains *chains;
        const ChainOptions *options;
} Load;

static int on_record(const char *name _unused_, const ContextRecord *record, void *userdata) {
        const Load *load = userdata;
        bool stale = !context_writer_alive(record);
        Chain *chain;

        if ((stale && !load->options->all) ||
            (load->options->pod && !chain_is_pod(&record->identity, load->options->pod)))
                return 0;
        chain = add(load->chains);
        if (!chain)
                return 0;
        chain->has_call = true;
        chain->stale = stale;
        chain->call = *record;
        chain->identity = record->identity;
        chain->age_ns = load->chains->now_ns > record->start_ns ? load->chains->now_ns - record->start_ns : 0;
        return 0;
}

static bool is_one_of(const char *const *operations, const char *operation) {
        for (; *operations; operations++)
                if (strcmp(*operations, operation) == 0)
                        return true;
        return false;
}

/* Can the call be what this process was started for? */
static bool can_have_caused(const char *operation, const Proc *proc, const Owner *owner) {
        const Podof *podof = proc->podof;
        const char *verb = podof ? podof->verb : "";

        if (podof && *podof->cni)
                return is_one_of(strcmp(podof->cni, "ADD") == 0 ? operations_sandbox() : operations_end(true),
                                 operation);
        if (proc->kind == PODOF_MONITOR && strcmp(verb, "exec") == 0)
                return is_one_of(operations_exec(), operation);
        if (proc->kind == PODOF_SHIM)
                return true;
        if (proc->kind != PODOF_RUNTIME)
                return true;
        if (strcmp(verb, "exec") == 0)
                return is_one_of(operations_exec(), operation);
        if (strcmp(verb, "create") == 0 || strcmp(verb, "run") == 0 || strcmp(verb, "start") == 0)
                return is_one_of(operations_create(MANAGER_UNKNOWN, owner->is_sandbox), operation) ||
                       is_one_of(operations_create(MANAGER_CRIO, owner->is_sandbox), operation);
        if (strcmp(verb, "kill") == 0 || strcmp(verb, "delete") == 0)
                return is_one_of(operations_end(owner->is_sandbox), operation) ||
                       is_one_of(operations_end(true), operation) ||
                       /* A probe that timed out. */
                       (strcmp(verb, "kill") == 0 && is_one_of(operations_exec(), operation));
        return true;
}

/* Does it live as long as its container: a serving shim, a monitor? */
static bool is_long_lived(const Proc *proc) {
        const char *verb = proc->podof ? proc->podof->verb : "";

        return (proc->kind == PODOF_SHIM && !*verb) || (proc->kind == PODOF_MONITOR && strcmp(verb, "exec") != 0);
}

/* The nearest process above @proc that a program of ours' kind is, by which the call is known. */
static const Proc *named_above(const Chains *chains, const Proc *proc) {
        for (unsigned depth = 0; proc && depth < PROCSCAN_DEPTH; depth++) {
                if (proc->kind == PODOF_RUNTIME || (proc->podof && *proc->podof->cni))
                        return proc;
                proc = proc->parent >= 0 ? &chains->procs.procs[proc->parent] : NULL;
        }
        return NULL;
}

/* Does @proc work for the chain? */
static bool is_member(const Chains *chains, const Chain *chain, size_t at) {
        const Proc *proc = &chains->procs.procs[at], *named;
        const Owner *owner = podowner_of(&chains->owners, &chains->procs, proc);

        if (!owner || !chains->owners.working[at] || !podowner_concerns(&chain->identity, owner))
                return false;
        if (!chain->has_call || is_long_lived(proc))
                return true;
        if (procscan_age_ns(&chains->procs, proc) > chain->age_ns + SLACK_NS)
                return false;
        named = named_above(chains, proc);
        return can_have_caused(chain->call.operation, named ? named : proc, owner);
}

/* The first process of a container, or one that was executed in it: a process of its cgroup whose parent is the node's.
 */
static bool is_entry(const Chains *chains, const Chain *chain, const Proc *proc) {
        const Proc *parent = proc->parent >= 0 ? &chains->procs.procs[proc->parent] : NULL;
        const Owner *owner = podowner_of(&chains->owners, &chains->procs, proc);

        if (owner && *chain->identity.container_id && strcmp(owner->id, chain->identity.container_id) != 0)
                return false;
        if (!owner || !parent || proc->stat.state == 'Z' || (proc->trusted && !proc->below_runtime))
                return false;
        if (!parent->trusted ||
            (parent->kind != PODOF_SHIM && parent->kind != PODOF_MONITOR && parent->kind != PODOF_RUNTIME))
                return false;
        return proc->cgroup.in_pod && !proc->cgroup.is_monitor && podowner_concerns(&chain->identity, owner);
}

/* Its generations below others of the chain. */
static unsigned depth_of(const Chains *chains, const bool *members, const Proc *proc) {
        unsigned depth = 0;

        while (proc->parent >= 0 && members[proc->parent] && depth < PROCSCAN_DEPTH) {
                proc = &chains->procs.procs[proc->parent];
                depth++;
        }
        return depth;
}

static bool has_live_child(const Chains *chains, const bool *members, size_t at) {
        for (size_t i = 0; i < chains->procs.n; i++)
                if (members[i] && chains->procs.procs[i].parent == (int) at && chains->procs.procs[i].stat.state != 'Z')
                        return true;
        return false;
}

/* How much speaks for this process to be the leaf; 0: it is none. */
static unsigned claim(const Chains *chains, const bool *members, size_t at) {
        const Proc *proc = &chains->procs.procs[at];
        unsigned depth = depth_of(chains, members, proc);
        char ignored[8];

        if (proc->stat.state == 'Z' || proc->stat.state == 'X' || has_live_child(chains, members, at))
                return 0;
        /* An idle shim is in the chain, but nothing waits for it; a stopped one is what everything waits for. */
        if (is_long_lived(proc))
                return proc->stat.state == 'T' || proc->stat.state == 'D' ||
                                       waitlook_frozen(&chains->look, proc->stat.pid, ignored, sizeof(ignored))
                               ? 500
                               : 0;
        return 1000 + depth;
}

static void push(Chain *chain, const Proc *proc) {
        if (chain->n < CHAIN_LINKS_MAX)
                chain->links[chain->n++] = (ChainLink){ .proc = proc, .wait = WAIT_NULL };
}

/* From the first of its ancestors that is a member down to @leaf. */
static void push_line(const Chains *chains, const bool *members, Chain *chain, const Proc *leaf) {
        const Proc *line[CHAIN_LINKS_MAX];
        size_t n = 0;

        for (const Proc *proc = leaf; n < CHAIN_LINKS_MAX - 2;) {
                line[n++] = proc;
                if (proc->parent < 0 ||
                    (!members[proc->parent] && chains->procs.procs[proc->parent].kind != PODOF_SHIM &&
                     chains->procs.procs[proc->parent].kind != PODOF_MONITOR))
                        break;
                proc = &chains->procs.procs[proc->parent];
        }
        while (n > 0)
                push(chain, line[--n]);
}

static bool stops(const char *operation) {
        return strcmp(operation, "StopContainer") == 0 || strcmp(operation, "StopPodSandbox") == 0 ||
               strcmp(operation, "RemoveContainer") == 0 || strcmp(operation, "RemovePodSandbox") == 0;
}

static bool executes(const char *operation) {
        return strcmp(operation, "ExecSync") == 0 || strcmp(operation, "Exec") == 0;
}

/* Without a process of the node's: a stop waits for the container's first process, a probe for its command. */
static const Proc *find_entry(const Chains *chains, const Chain *chain) {
        bool exec = executes(chain->call.operation);
        const Proc *best = NULL;

        if (!exec && !stops(chain->call.operation))
                return NULL;
        for (size_t i = 0; i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                bool young;

                if (!is_entry(chains, chain, proc))
                        continue;
                young = procscan_age_ns(&chains->procs, proc) <= chain->age_ns + SLACK_NS;
                if (exec ? !young || (best && best->stat.start_ticks >= proc->stat.start_ticks)
                         : best && best->stat.start_ticks <= proc->stat.start_ticks)
                        continue;
                best = proc;
        }
        return best;
}

static char state_of(const Chains *chains, const Proc *proc) {
        char ignored[8];

        return waitlook_frozen(&chains->look, proc->stat.pid, ignored, sizeof(ignored)) ? 'F' : proc->stat.state;
}

/* The engine that works for the chain: the parent of what it started, else the one that podspan-cri forwards to. */
static const Proc *find_engine(Chains *chains, const Chain *chain, const bool *members) {
        const WaitobjectNet *net;

        for (size_t i = 0; i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];

                if (members[i] && proc->parent >= 0 && chains->procs.procs[proc->parent].kind == PODOF_ENGINE)
                        return &chains->procs.procs[proc->parent];
        }
        if (chains->n_engines <= 1 || !chain->has_call)
                return chains->n_engines == 1 ? chains->engines[0] : NULL;
        for (size_t i = 0; i < chains->n; i++)
                if (&chains->chains[i] != chain && chains->chains[i].has_call &&
                    chains->chains[i].call.pid == chain->call.pid && chains->chains[i].engine)
                        return chains->chains[i].engine;
        net = waitobject_net(&chains->look.objects, (pid_t) chain->call.pid);
        return net ? enginefind_of((pid_t) chain->call.pid, chains->engines, chains->n_engines, &net->diag) : NULL;
}

static bool is_stopped(const Chains *chains, const Proc *proc) {
        char state = proc ? state_of(chains, proc) : '\0';

        return state == 'T' || state == 'F';
}

static int build(Chains *chains, Chain *chain) {
        _cleanup_free_ bool *members = calloc(chains->procs.n + 1, sizeof(*members));
        const Proc *leaf = NULL, *entry;
        unsigned best = 0;

        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < chains->procs.n; i++)
                members[i] = is_member(chains, chain, i);
        for (size_t i = 0; i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                unsigned here = members[i] ? claim(chains, members, i) : 0;

                /* Of equals the youngest: the others were there before. */
                if (here > best || (here > 0 && here == best && proc->stat.start_ticks > leaf->stat.start_ticks)) {
                        best = here;
                        leaf = proc;
                }
        }
        chain->engine = find_engine(chains, chain, members);
        chain->engine_state = chain->engine ? state_of(chains, chain->engine) : '\0';
        if (chain->engine && (chain->engine_state == 'T' || chain->engine_state == 'F' || !leaf))
                push(chain, chain->engine);
        /* A monitor of an exec waits for its command. */
        entry = chain->has_call && (!leaf || leaf->kind == PODOF_MONITOR) && !is_stopped(chains, leaf) &&
                                chain->engine_state != 'T' && chain->engine_state != 'F'
                        ? find_entry(chains, chain)
                        : NULL;
        if (entry) {
                chain->n = 0;
                leaf = entry;
        }
        if (leaf)
                push_line(chains, members, chain, leaf);
        chain->none = leaf || chain->engine_state == 'T' || chain->engine_state == 'F' ? CHAIN_LEAF
                      : chains->n_engines > 0                                          ? CHAIN_NO_PROCESS
                                                                                       : CHAIN_NO_ENGINE;
        return 0;
}

/* Follows children that are waited for: those of a container are no members. */
static void follow(Chains *chains, Chain *chain) {
        while (chain->none == CHAIN_LEAF && chain->n > 0 && chain->n < CHAIN_LINKS_MAX) {
                ChainLink *last = &chain->links[chain->n - 1];
                const Proc *child;

                if (last->wait.kind != WAIT_CHILD || last->wait.peer != WAIT_PEER_FOUND)
                        return;
                child = procscan_find(&chains->procs, last->wait.peer_pid);
                if (!child || child->stat.ppid != last->proc->stat.pid)
                        return;
                for (size_t i = 0; i < chain->n; i++)
                        if (chain->links[i].proc == child)
                                return;
                push(chain, child);
                waitlook_begin(&chains->look, child, &chain->links[chain->n - 1].wait);
        }
}

static void begin_waits(Chains *chains) {
        for (size_t i = 0; i < chains->n; i++) {
                Chain *chain = &chains->chains[i];

                for (size_t k = 0; k < chain->n; k++) {
                        ChainLink *link = &chain->links[k];

                        waitlook_begin(&chains->look, link->proc, &link->wait);
                        /* It went on while it was read: it may stay where it is now. */
                        if (link->wait.changed)
                                waitlook_begin(&chains->look, link->proc, &link->wait);
                }
                follow(chains, chain);
        }
        /* A frozen process of cgroup v1 is in state D, too, and is no riddle. */
        for (size_t i = 0; i < chains->n_stuck; i++) {
                waitlook_begin(&chains->look, chains->stuck[i].proc, &chains->stuck[i].wait);
                if (chains->stuck[i].wait.kind == WAIT_FREEZER) {
                        chains->stuck[i--] = chains->stuck[--chains->n_stuck];
                        chains->n_stuck_all--;
                }
        }
}

static void finish_waits(Chains *chains) {
        for (size_t i = 0; i < chains->n; i++)
                for (size_t k = 0; k < chains->chains[i].n; k++)
                        waitlook_finish(&chains->look, chains->chains[i].links[k].proc,
                                        &chains->chains[i].links[k].wait);
        for (size_t i = 0; i < chains->n_stuck; i++)
                waitlook_finish(&chains->look, chains->stuck[i].proc, &chains->stuck[i].wait);
}

/* The processes that the leaves wait for, with what they wait for themselves. */
static int add_peers(Chains *chains) {
        for (size_t i = 0; i < chains->n; i++) {
                Chain *chain = &chains->chains[i];
                const ChainLink *leaf = chain_leaf(chain);
                const Proc *peer = leaf && leaf->wait.peer == WAIT_PEER_FOUND && leaf->wait.kind != WAIT_CHILD
                                           ? procscan_find(&chains->procs, leaf->wait.peer_pid)
                                           : NULL;

                if (!peer || chain->n == CHAIN_LINKS_MAX)
                        continue;
                push(chain, peer);
                chain->links[chain->n - 1].is_peer = true;
                waitlook_begin(&chains->look, peer, &chain->links[chain->n - 1].wait);
        }
        /* One more pass, for their questions too. */
        if (waitlook_scan(&chains->look) < 0)
                return 0;
        for (size_t i = 0; i < chains->n; i++) {
                ChainLink *last = chains->chains[i].n > 0 ? &chains->chains[i].links[chains->chains[i].n - 1] : NULL;

                if (last && last->is_peer)
                        waitlook_finish(&chains->look, last->proc, &last->wait);
        }
        return 0;
}

/* Below a pod's cgroup: in state D, or dead and not collected. Most are gone a moment later. */
static void find_stuck(Chains *chains, const ChainOptions *options) {
        const char *pod = options->pod ? options->pod : options->created;

        for (size_t i = 0; i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                const Owner *owner = podowner_of(&chains->owners, &chains->procs, proc);
                char text[PROCFILE_SMALL_MAX];
                ProcfileStat stat;
                ssize_t n;

                if (!proc->cgroup.in_pod || (proc->stat.state != 'D' && proc->stat.state != 'Z') ||
                    (pod && (!owner || !chain_is_pod(&owner->identity, pod))))
                        continue;
                n = procscan_read(proc->stat.pid, "stat", text, sizeof(text));
                if (n < 0 || procfile_stat(text, (size_t) n, &stat) < 0 || stat.state != proc->stat.state ||
                    stat.start_ticks != proc->stat.start_ticks)
                        continue;
                chains->n_stuck_all++;
                if (chains->n_stuck < CHAIN_STUCK_MAX)
                        chains->stuck[chains->n_stuck++] = (ChainStuck){ proc, owner, WAIT_NULL };
        }
}

/* Which call this must be: what its processes do has one cause. */
static void guess(Chain *chain, const Proc *proc, const Owner *owner) {
        const Podof *podof = proc->podof;
        const char *verb = podof ? podof->verb : "", *what = "";

        if (podof && *podof->cni)
                what = strcmp(podof->cni, "ADD") == 0   ? "RunPodSandbox"
                       : strcmp(podof->cni, "DEL") == 0 ? "StopPodSandbox"
                                                        : "";
        else if (proc->kind != PODOF_RUNTIME)
                return;
        else if (strcmp(verb, "exec") == 0)
                what = "ExecSync";
        else if (strcmp(verb, "kill") == 0)
                what = owner->is_sandbox ? "StopPodSandbox" : "StopContainer";
        else if (owner->is_sandbox && (strcmp(verb, "create") == 0 || strcmp(verb, "start") == 0))
                what = "RunPodSandbox";
        if (*what)
                COPY(chain->guess, what);
}

/* A process that works for a pod and is in no chain of a call. */
static bool is_orphan(const Chains *chains, size_t at, size_t n_calls, bool settled) {
        const Proc *proc = &chains->procs.procs[at];

        if (!chains->owners.working[at] || chains->owners.of[at] < 0 || is_long_lived(proc) ||
            proc->stat.state == 'Z' || (settled && procscan_age_ns(&chains->procs, proc) < CHAIN_SETTLE_NS))
                return false;
        for (size_t i = 0; i < n_calls; i++)
                if (is_member(chains, &chains->chains[i], at))
                        return false;
        return true;
}

/* The chains of pods without a call: podspan-cri is not there, or the engine works for itself. */
static int add_orphans(Chains *chains, const ChainOptions *options) {
        size_t n_calls = chains->n;

        for (size_t i = 0; i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                const Owner *owner = podowner_of(&chains->owners, &chains->procs, proc);
                Chain *chain = NULL;
                uint64_t age_ns;

                if (!owner || (options->pod && !chain_is_pod(&owner->identity, options->pod)) ||
                    !is_orphan(chains, i, n_calls, !options->created))
                        continue;
                age_ns = procscan_age_ns(&chains->procs, proc);
                for (size_t k = n_calls; !chain && k < chains->n; k++)
                        if (strcmp(chains->chains[k].identity.container_id, owner->identity.container_id) == 0 &&
                            podowner_same_pod(&chains->chains[k].identity, &owner->identity))
                                chain = &chains->chains[k];
                if (!chain) {
                        chain = add(chains);
                        if (!chain)
                                return 0;
                        chain->identity = owner->identity;
                }
                chain->age_ns = MAX(chain->age_ns, age_ns);
                guess(chain, proc, owner);
        }
        return 0;
}

/* A container that was created and not started: its first process waits at exec.fifo. Between the two calls that is as
 * it should be, so only who asks about this pod is told. */
static void add_created(Chains *chains, const ChainOptions *options) {
        for (size_t i = 0; options->created && i < chains->n; i++)
                if (chain_is_pod(&chains->chains[i].identity, options->created))
                        return;
        for (size_t i = 0; options->created && i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                const Owner *owner = podowner_of(&chains->owners, &chains->procs, proc);
                Chain *chain;

                if (!owner || !*proc->cgroup.container_id || strncmp(proc->stat.comm, "runc:[", 6) != 0 ||
                    !chain_is_pod(&owner->identity, options->created))
                        continue;
                chain = add(chains);
                if (!chain)
                        return;
                chain->identity = owner->identity;
                chain->age_ns = procscan_age_ns(&chains->procs, proc);
                chain->none = CHAIN_LEAF;
                push(chain, proc);
        }
}

/* What kubelet has started itself, a volume driver or a mount helper, and that names no pod. */
static void add_helpers(Chains *chains, const ChainOptions *options) {
        for (size_t i = 0; options->created && i < chains->procs.n; i++) {
                const Proc *proc = &chains->procs.procs[i];
                Chain *chain;

                if (proc->parent < 0 || chains->procs.procs[proc->parent].kind != PODOF_KUBELET || !proc->trusted ||
                    proc->kind != PODOF_OTHER || proc->stat.state == 'Z' || chains->owners.working[i])
                        continue;
                chain = add(chains);
                if (!chain)
                        return;
                chain->unattributed = true;
                chain->age_ns = procscan_age_ns(&chains->procs, proc);
                chain->none = CHAIN_LEAF;
                push(chain, &chains->procs.procs[proc->parent]);
                push(chain, proc);
        }
}

static int by_age(const void *a, const void *b) {
        uint64_t x = ((const Chain *) a)->age_ns, y = ((const Chain *) b)->age_ns;

        return x > y ? -1 : x < y;
}

static int look(Chains *chains, const ChainOptions *options, const Context *context) {
        int r;

        r = procscan_run(&chains->asides, &chains->procs);
        if (r < 0)
                return r;
        r = podowner_find(&chains->procs, &chains->asides, context, &chains->owners);
        if (r < 0)
                return r;
        waitlook_init(&chains->look, &chains->asides, &chains->procs);
        for (size_t i = 0; i < chains->procs.n && chains->n_engines < CHAIN_ENGINE_MAX; i++)
                if (chains->procs.procs[i].kind == PODOF_ENGINE && chains->procs.procs[i].trusted)
                        chains->engines[chains->n_engines++] = &chains->procs.procs[i];
        r = add_orphans(chains, options);
        for (size_t i = 0; r == 0 && i < chains->n; i++)
                r = build(chains, &chains->chains[i]);
        if (r < 0)
                return r;
        add_created(chains, options);
        add_helpers(chains, options);
        find_stuck(chains, options);
        begin_waits(chains);
        r = waitlook_scan(&chains->look);
        if (r < 0)
                return r;
        finish_waits(chains);
        return options->peers ? add_peers(chains) : 0;
}

int chain_run(const ChainOptions *options, Chains *ret) {
        _cleanup_(context_deinit) Context context = CONTEXT_NULL;
        Load load = { ret, options };
        bool has_context = false;
        int r = 0;

        *ret = (Chains){ .now_ns = clk_realtime() };
        if (options->state_fd >= 0) {
                r = context_init(&context, options->state_fd, false, COUNTERS_PROBE, NULL);
                has_context = r >= 0;
                if (r >= 0)
                        r = context_list(&context, CONTEXT_LIVE, on_record, &load);
        }
        if (r >= 0 && !options->no_leaf)
                r = look(ret, options, has_context ? &context : NULL);
        if (r < 0) {
                chain_deinit(ret);
                return r;
        }
        if (ret->n > 0)
                qsort(ret->chains, ret->n, sizeof(*ret->chains), by_age);
        return 0;
}

void chain_deinit(Chains *chains) {
        waitlook_deinit(&chains->look);
        podowner_deinit(&chains->owners);
        procscan_deinit(&chains->procs);
        free(chains->chains);
        *chains = (Chains) CHAINS_NULL;
}

const ChainLink *chain_leaf(const Chain *chain) {
        if (chain->none != CHAIN_LEAF)
                return NULL;
        for (size_t i = chain->n; i > 0; i--)
                if (!chain->links[i - 1].is_peer)
                        return &chain->links[i - 1];
        return NULL;
}

void chain_words(const Chain *chain, char ret[static CHAIN_TEXT_MAX]) {
        const ChainLink *leaf = chain_leaf(chain);
        const char *role = leaf ? chain_role(leaf->proc) : "";
        char words[WAIT_TEXT_MAX];

        if (leaf) {
                wait_words(&leaf->wait, words);
                (void) snprintf(ret, CHAIN_TEXT_MAX, "%s%s%s (pid %d) %s", role, *role ? " " : "",
                                procscan_name(leaf->proc), (int) leaf->proc->stat.pid, words);
        } else if (chain->none == CHAIN_NO_PROCESS && chain->engine)
                (void) snprintf(ret, CHAIN_TEXT_MAX, "no process runs for it: %s (pid %d) works on it itself",
                                procscan_name(chain->engine), (int) chain->engine->stat.pid);
        else if (chain->none == CHAIN_NO_PROCESS)
                (void) snprintf(ret, CHAIN_TEXT_MAX, "no process runs for it: the engine works on it itself");
        else
                (void) snprintf(ret, CHAIN_TEXT_MAX,
                                "no process runs for it, and no containerd or crio that podspan believes");
}
