/*
 * How a container's own process dies: the signal that ends it with the signal's sender, the OOM killer with the limit
 * that it enforces, and what the container's cgroups have counted by then. Part of watch.bpf.c.
 *
 * signal_generate is hit when the kernel has decided what a signal does, in the context of the sender. So the signal
 * that ends a process can be known at that moment: the kernel has set the process's group exit code to it. Only a
 * signal that dumps core is decided on later, by the process itself.
 *
 * The facts are kept here and go with the exit event. An event for each signal would let any process fill the ring.
 */

#define DEATHS_MAX       4096
#define SIGNAL_DYING     0x4 /* signal_struct.flags: SIGNAL_GROUP_EXIT */
#define TASK_EXITING     0x4 /* task_struct.flags: PF_EXITING */
#define SIGNALS_MAX      64
#define SIGNAL_LIBRARY   32 /* this one and the next are the C library's own */
#define NAMESPACE_LEVELS 32
#define OOM_SEEN_MAX     4096
#define OOM_FITS_PAGES   64           /* a limit with less room than this, or less than … */
#define OOM_FITS_PART    16           /* … this part of it, has been reached */
#define OOM_PAGES_MAX    (1ULL << 46) /* a higher limit is none */
#define OOM_TOGETHER_NS  1000000000ULL
#define OOM_THREADS_MAX  64

enum {
        NR_HUP = 1,
        NR_INT = 2,
        NR_QUIT = 3,
        NR_ILL = 4,
        NR_TRAP = 5,
        NR_ABRT = 6,
        NR_BUS = 7,
        NR_FPE = 8,
        NR_KILL = 9,
        NR_USR1 = 10,
        NR_SEGV = 11,
        NR_USR2 = 12,
        NR_TERM = 15,
        NR_CHLD = 17,
        NR_URG = 23,
        NR_XCPU = 24,
        NR_XFSZ = 25,
        NR_WINCH = 28,
        NR_PWR = 30,
        NR_SYS = 31,
};

#define BIT(nr) (1U << (nr))
/* What dumps core by default. */
#define SIGNALS_CORE                                                                                           \
        (BIT(NR_QUIT) | BIT(NR_ILL) | BIT(NR_TRAP) | BIT(NR_ABRT) | BIT(NR_BUS) | BIT(NR_FPE) | BIT(NR_SEGV) | \
         BIT(NR_XCPU) | BIT(NR_XFSZ) | BIT(NR_SYS))
/* What people and runtimes end a process with. */
#define SIGNALS_ASKING \
        (BIT(NR_HUP) | BIT(NR_INT) | BIT(NR_QUIT) | BIT(NR_USR1) | BIT(NR_USR2) | BIT(NR_TERM) | BIT(NR_PWR))
#define SIGNALS_FATAL_LOOKING (SIGNALS_ASKING | BIT(NR_ABRT) | BIT(NR_KILL))

enum {
        CODE_KERNEL_MAX = -2, /* timers, queues, asynchronous I/O; but for … */
        CODE_TKILL = -6,
};

enum {
        RESULT_IGNORED = 1,
        RESULT_OVERFLOW = 3,
};

/* Which facts this kernel lets us see: EventDeathFlags. Set before loading. */
const volatile __u32 death_flags;

/* No LRU: an entry goes at the exit of its process. */
struct Death {
        __u64 start_ns; /* of the process */
        EventSignal fatal, core, asked;
        __u32 ignored;
        __u32 pad;
};

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, DEATHS_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, struct Death);
} deaths SEC(".maps");

static const struct Death no_death;

static struct Death *death_of(struct task_struct *task) {
        __u64 start_ns = task->group_leader->start_boottime;
        __u32 pid = (__u32) task->tgid;
        struct Death *death = bpf_map_lookup_elem(&deaths, &pid);

        if (death && death->start_ns == start_ns)
                return death;
        (void) bpf_map_update_elem(&deaths, &pid, &no_death, BPF_ANY);
        death = bpf_map_lookup_elem(&deaths, &pid);
        if (death)
                death->start_ns = start_ns;
        else
                __sync_fetch_and_add(&n_crowded, 1);
        return death;
}

/* ---- signals ---- */

static void read_upid(struct pid *pid, __u32 level, struct upid *ret) {
        bpf_probe_read_kernel(ret, sizeof(*ret),
                              (char *) pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(*ret));
}

/* Is @from the first process of a pid namespace that @task is in? */
static bool is_namespace_init(struct task_struct *from, struct task_struct *task) {
        struct pid *pid = BPF_CORE_READ(from, group_leader, thread_pid), *other = BPF_CORE_READ(task, thread_pid);
        __u32 level = BPF_CORE_READ(pid, level);
        struct upid mine = {}, theirs = {};

        if (level == 0 || level > NAMESPACE_LEVELS || BPF_CORE_READ(other, level) < level)
                return false;
        read_upid(pid, level, &mine);
        read_upid(other, level, &theirs);
        return mine.nr == 1 && mine.ns == theirs.ns;
}

/* Who has sent @sig to @task, where @current is the task that ran then? */
static __u8 sender_of(struct task_struct *current, struct task_struct *task, int sig, unsigned long info) {
        bool exiting = BPF_CORE_READ(current, flags) & TASK_EXITING, self = BPF_CORE_READ(current, tgid) == task->tgid;
        int code;

        if (info == 1)
                return sig == NR_KILL && exiting && !self && is_namespace_init(current, task) ? EVENT_SENDER_NAMESPACE
                                                                                              : EVENT_SENDER_KERNEL;
        if (info == 0 && exiting && !self)
                return BPF_CORE_READ(task, pdeath_signal) == sig ? EVENT_SENDER_PARENT : EVENT_SENDER_KERNEL;
        if (info > 1) {
                code = BPF_CORE_READ((struct kernel_siginfo *) info, si_code);
                if (code > 0 || (code <= CODE_KERNEL_MAX && code != CODE_TKILL))
                        return EVENT_SENDER_KERNEL;
        }
        return self ? EVENT_SENDER_SELF : EVENT_SENDER_HOST;
}

/* The container that @css is in, with the name of the container's cgroup. */
static bool find_group(struct cgroup_subsys_state *css, __u64 kind, EventSignal *ret) {
        for (int i = 0; i < GROUP_LEVELS && css; i++) {
                __u64 id = group_id(css, kind);
                struct Group *group = id != 0 ? bpf_map_lookup_elem(&groups, &id) : NULL;

                if (group) {
                        ret->first_pid = group->pid;
                        ret->first_start_ns = group->start_ns;
                        bpf_probe_read_kernel_str(ret->group, sizeof(ret->group), BPF_CORE_READ(css, cgroup, kn, name));
                        return true;
                }
                css = BPF_CORE_READ(css, parent);
        }
        return false;
}

static void fill_signal(EventSignal *signal, int sig, struct task_struct *task, unsigned long info, int result) {
        struct task_struct *current = (struct task_struct *) bpf_get_current_task();
        __u32 pid = (__u32) BPF_CORE_READ(current, tgid);
        const Track *entry;

        signal->time_ns = bpf_ktime_get_ns();
        signal->signal = (__u8) sig;
        signal->ignored = result == RESULT_IGNORED;
        signal->sender = sender_of(current, task, sig, info);
        signal->first_start_ns = 0;
        signal->first_pid = 0;
        signal->known = 0;
        signal->group[0] = '\0';
        signal->comm[0] = '\0';
        signal->pid = signal->uid = 0;
        if (signal->sender == EVENT_SENDER_KERNEL)
                return;

        signal->pid = pid;
        signal->uid = BPF_CORE_READ(current, cred, uid.val);
        bpf_probe_read_kernel_str(signal->comm, sizeof(signal->comm),
                                  (char *) BPF_CORE_READ(current, group_leader) +
                                          bpf_core_field_offset(struct task_struct, comm));
        if (signal->sender != EVENT_SENDER_HOST)
                return;
        if (find_group(unified_of(current), GROUP_UNIFIED, signal) || find_group(memory_of(current), 0, signal) ||
            !on_host(current)) {
                signal->sender = EVENT_SENDER_CONTAINER;
                return;
        }
        entry = bpf_map_lookup_elem(&tracked, &pid);
        signal->known = entry && !(entry->flags & TRACK_CONTAINER);
}

/* What the process does at @sig: 0 is the kernel's default. */
static __u64 handler_of(struct task_struct *task, int sig) {
        __u64 handler = 1;

        bpf_probe_read_kernel(&handler, sizeof(handler),
                              (char *) BPF_CORE_READ(task, sighand) +
                                      bpf_core_field_offset(struct sighand_struct, action) +
                                      (__u64) (sig - 1) * bpf_core_type_size(struct k_sigaction) +
                                      bpf_core_field_offset(struct k_sigaction, sa.sa_handler));
        return handler;
}

static bool in_set(int sig, __u32 set) {
        return sig < 32 && set >> sig & 1;
}

static void note_signal(struct task_struct *task, int sig, unsigned long info, int result) {
        unsigned int flags = BPF_CORE_READ(task, signal, flags);
        bool ignored = result == RESULT_IGNORED, fatal, core, asked;
        struct Death *death;

        if (sig < 1 || sig > SIGNALS_MAX || result == RESULT_OVERFLOW || sig == SIGNAL_LIBRARY ||
            sig == SIGNAL_LIBRARY + 1)
                return;
        fatal = !ignored && flags & SIGNAL_DYING && BPF_CORE_READ(task, signal, group_exit_code) == sig;
        if (!fatal && flags & SIGNAL_DYING)
                return; /* it dies of something else already */
        core = !ignored && !fatal && in_set(sig, SIGNALS_CORE) && handler_of(task, sig) == 0;
        asked = !fatal && !core &&
                (in_set(sig, SIGNALS_ASKING) || (!ignored && (sig == NR_WINCH || sig > SIGNAL_LIBRARY)));
        if (!fatal && !core && !asked && !(ignored && in_set(sig, SIGNALS_FATAL_LOOKING)))
                return;

        death = death_of(task);
        if (!death)
                return;
        if (ignored && in_set(sig, SIGNALS_FATAL_LOOKING))
                death->ignored = (__u32) sig;
        if (fatal) {
                if (death->fatal.signal == 0)
                        fill_signal(&death->fatal, sig, task, info, result);
        } else if (core) {
                if (death->core.signal != sig)
                        fill_signal(&death->core, sig, task, info, result);
        } else if (asked) {
                EventSignal signal;

                fill_signal(&signal, sig, task, info, result);
                /* What a runtime has asked for is not forgotten for what somebody else has. */
                if (signal.sender == EVENT_SENDER_HOST && (signal.known || !death->asked.known))
                        death->asked = signal;
        }
}

SEC("?tp_btf/signal_generate")
int BPF_PROG(on_signal, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result) {
        __u32 pid;
        Track *entry;

        /* Nearly all of them: children that end, and what Go's scheduler sends itself. None of these ends a process. */
        if (sig >= NR_CHLD && sig <= NR_URG)
                return 0;
        pid = (__u32) task->tgid;
        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (!entry || !(entry->flags & TRACK_CONTAINER))
                return 0;
        note_signal(task, sig, (unsigned long) info, result);
        return 0;
}

/* ---- the OOM killer ---- */

/*
 * How often each memory cgroup's limit had brought about the OOM killer when it was last looked at; absent: never. Each
 * cgroup counts for itself (memory.events.local; with version 1, too, though no file tells). A cgroup whose count has
 * grown at mark_victim is the one whose limit it was.
 */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, OOM_SEEN_MAX);
        __type(key, __u64);
        __type(value, __u64);
} oom_seen SEC(".maps");

/* What the last kill by a thread was about: with memory.oom.group one limit kills many. */
struct Cause {
        __u64 time_ns;
        __u64 limit_pages;
        __u64 id; /* of the limit's cgroup; 0: the node */
        __u32 unknown;
        __u32 pad;
};

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, OOM_THREADS_MAX);
        __type(key, __u64);
        __type(value, struct Cause);
} oom_causes SEC(".maps");

/* In a map, since the verifier forgets what it knows of it: it need not walk each way through the levels. */
struct Walk {
        Event event;
        EventVictim victim;
        struct Cause cause;
        __u64 room; /* below the limit in `cause`, in pages */
        __u32 n_grown;
        __u32 n_fit;
        struct Cause joint; /* the last cause, which counts where none has grown; time_ns 0: none */
};

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct Walk);
} walks SEC(".maps");

static struct Walk *walk_room(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&walks, &zero);
}

#define HAS_MEMORY_EVENTS                                                         \
        (bpf_core_field_exists(((struct mem_cgroup *) 0)->memory_events_local) && \
         bpf_core_field_exists(((struct mem_cgroup *) 0)->memory_events))

static __u64 count_ooms(struct cgroup_subsys_state *css) {
        __u64 count = 0;

        bpf_probe_read_kernel(&count, sizeof(count),
                              (char *) css + bpf_core_field_offset(struct mem_cgroup, memory_events_local) +
                                      bpf_core_enum_value(enum memcg_memory_event, MEMCG_OOM) * sizeof(count));
        return count;
}

/* What has been counted before podspan-watch was there counts as seen. */
static void learn_ooms(struct task_struct *task) {
        struct cgroup_subsys_state *css = HAS_MEMORY_EVENTS ? memory_of(task) : NULL;

        for (int i = 0; i < OOM_LEVELS_MAX && css; i++) {
                __u64 id = group_id(css, 0), count = count_ooms(css);

                if (count > 0)
                        bpf_map_update_elem(&oom_seen, &id, &count, BPF_NOEXIST);
                css = BPF_CORE_READ(css, parent);
        }
}

static void name_limit(struct Walk *walk, struct cgroup_subsys_state *css, __u32 level) {
        walk->victim.limit_level = (__s32) level;
        bpf_probe_read_kernel_str(walk->victim.group, sizeof(walk->victim.group), BPF_CORE_READ(css, cgroup, kn, name));
}

/* One level of the way up: has this limit brought about the kill? */
__attribute__((noinline)) int look_at_level(unsigned long at_css, __u32 level) {
        struct cgroup_subsys_state *css = (struct cgroup_subsys_state *) at_css;
        struct mem_cgroup *memcg = (struct mem_cgroup *) at_css;
        __u64 id = group_id(css, 0), count, *seen, max, usage, room;
        struct Walk *walk = walk_room();
        struct Group *group;

        if (!walk)
                return 0;
        group = bpf_map_lookup_elem(&groups, &id);
        if (group && walk->victim.container_level < 0) {
                walk->victim.container_level = (__s32) level;
                walk->victim.first_pid = group->pid;
                walk->victim.first_start_ns = group->start_ns;
        }
        if (!HAS_MEMORY_EVENTS)
                return 0;

        if (walk->joint.time_ns != 0 && walk->joint.id == id)
                name_limit(walk, css, level);
        count = count_ooms(css);
        seen = bpf_map_lookup_elem(&oom_seen, &id);
        if (count == 0 || (seen && *seen == count))
                return 0;
        bpf_map_update_elem(&oom_seen, &id, &count, BPF_ANY);
        max = BPF_CORE_READ(memcg, memory.max);
        if (max >= OOM_PAGES_MAX)
                return 0;

        usage = (__u64) BPF_CORE_READ(memcg, memory.usage.counter);
        room = max > usage ? max - usage : 0;
        if (room <= OOM_FITS_PAGES || room <= max / OOM_FITS_PART)
                walk->n_fit++;
        if (walk->n_grown == 0 || room < walk->room) {
                walk->room = room;
                walk->cause.limit_pages = max;
                walk->cause.id = id;
                name_limit(walk, css, level);
        }
        walk->n_grown++;
        return 0;
}

/* About, since Linux 6.2: each CPU counts for itself, and the sum lags. */
static __s64 resident_pages(struct task_struct *task) {
        struct mm_struct *mm = BPF_CORE_READ(task, mm);
        __s64 file = 0, anon = 0, shared = 0, sum;

        if (!mm)
                return -1;
        /* By the address space: a structure that this kernel has not got would be looked for in all modules. */
        if (bpf_core_field_exists(((struct mm_struct___old *) 0)->rss_stat.count)) {
                file = BPF_CORE_READ((struct mm_struct___old *) mm, rss_stat.count[0].counter);
                anon = BPF_CORE_READ((struct mm_struct___old *) mm, rss_stat.count[1].counter);
                shared = BPF_CORE_READ((struct mm_struct___old *) mm, rss_stat.count[3].counter);
        } else if (bpf_core_field_exists(((struct mm_struct___percpu *) 0)->rss_stat[0].count)) {
                file = BPF_CORE_READ((struct mm_struct___percpu *) mm, rss_stat[0].count);
                anon = BPF_CORE_READ((struct mm_struct___percpu *) mm, rss_stat[1].count);
                shared = BPF_CORE_READ((struct mm_struct___percpu *) mm, rss_stat[3].count);
        }
        sum = file + anon + shared;
        return sum > 0 ? sum : -1;
}

/* Whose limit it was, once all levels have been looked at. */
static void judge(struct Walk *walk, __u64 thread) {
        if (walk->n_grown == 0 && walk->joint.time_ns != 0) {
                walk->cause = walk->joint;
                if (walk->cause.unknown || (walk->cause.id != 0 && walk->victim.limit_level < 0))
                        walk->victim.limit_level = EVENT_LEVEL_UNKNOWN;
        } else if (!HAS_MEMORY_EVENTS || (walk->n_grown > 0 && walk->n_fit != 1)) {
                /* No limit that has been reached, or more than one: whose it was cannot be said. */
                walk->victim.limit_level = EVENT_LEVEL_UNKNOWN;
                walk->cause.unknown = 1;
        }
        walk->cause.time_ns = walk->event.time_ns;
        bpf_map_update_elem(&oom_causes, &thread, &walk->cause, BPF_ANY);
}

static void emit_victim(struct task_struct *task) {
        __u64 thread = bpf_get_current_pid_tgid();
        struct cgroup_subsys_state *css = memory_of(task);
        struct Cause *cause = bpf_map_lookup_elem(&oom_causes, &thread);
        struct Walk *walk = walk_room();
        __u32 pid = (__u32) task->tgid;
        const Track *entry;
        bool own;

        if (!walk)
                return;
        fill(&walk->event, EVENT_VICTIM, task);
        bpf_probe_read_kernel_str(walk->event.comm, sizeof(walk->event.comm),
                                  (char *) BPF_CORE_READ(task, group_leader) +
                                          bpf_core_field_offset(struct task_struct, comm));
        __builtin_memset(&walk->victim, 0, sizeof(walk->victim));
        __builtin_memset(&walk->cause, 0, sizeof(walk->cause));
        walk->victim.container_level = walk->victim.limit_level = EVENT_LEVEL_NONE;
        walk->victim.rss_pages = resident_pages(task);
        walk->n_grown = walk->n_fit = 0;
        walk->joint.time_ns = 0;
        if (cause && walk->event.time_ns - cause->time_ns < OOM_TOGETHER_NS)
                walk->joint = *cause;

        for (__u32 i = 0; i < OOM_LEVELS_MAX && css; i++) {
                (void) look_at_level((unsigned long) css, i);
                css = BPF_CORE_READ(css, parent);
        }
        judge(walk, thread);
        walk->victim.limit_pages = walk->victim.limit_level >= 0 ? walk->cause.limit_pages : 0;

        entry = bpf_map_lookup_elem(&tracked, &pid);
        own = entry && entry->flags & TRACK_CONTAINER;
        if (!own && walk->victim.first_pid == 0)
                return; /* nobody's */
        if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > RING_SIZE / 2)
                __sync_fetch_and_add(&n_crowded, 1);
        else
                emit(walk, sizeof(walk->event) + sizeof(walk->victim), WITH_OTHERS);
}

/* ---- the end ---- */

static __s64 memory_count(struct cgroup_subsys_state *css, __u64 event) {
        __s64 count = -1;

        bpf_probe_read_kernel(&count, sizeof(count),
                              (char *) css + bpf_core_field_offset(struct mem_cgroup, memory_events) +
                                      event * sizeof(count));
        return count;
}

#define MEMORY_COUNT(css, event)                                                          \
        (bpf_core_enum_value_exists(enum memcg_memory_event, event)                       \
                 ? memory_count(css, bpf_core_enum_value(enum memcg_memory_event, event)) \
                 : -1)

/* The memory cgroup of the container that @task is in, NULL if it is not known. */
static struct cgroup_subsys_state *container_memory(struct task_struct *task) {
        struct cgroup_subsys_state *css = memory_of(task);

        for (int i = 0; i < GROUP_LEVELS && css; i++) {
                __u64 id = group_id(css, 0);

                if (id != 0 && bpf_map_lookup_elem(&groups, &id))
                        return css;
                css = BPF_CORE_READ(css, parent);
        }
        return NULL;
}

/* The runtime removes the cgroups soon after the exit, sooner than files can be read. */
static void count_cgroups(struct task_struct *task, EventDeath *to) {
        struct cgroup_subsys_state *css = container_memory(task);
        struct task_group *group;

        for (int i = 0; i < _EVENT_MEMORY_MAX; i++)
                to->memory[i] = -1;
        to->periods = to->throttled_periods = to->throttled_ns = -1;
        if (!css)
                return;
        if (HAS_MEMORY_EVENTS) {
                to->memory[EVENT_MEMORY_LOW] = MEMORY_COUNT(css, MEMCG_LOW);
                to->memory[EVENT_MEMORY_HIGH] = MEMORY_COUNT(css, MEMCG_HIGH);
                to->memory[EVENT_MEMORY_LIMIT] = MEMORY_COUNT(css, MEMCG_MAX);
                to->memory[EVENT_MEMORY_OOM] = MEMORY_COUNT(css, MEMCG_OOM);
                to->memory[EVENT_MEMORY_KILL] = MEMORY_COUNT(css, MEMCG_OOM_KILL);
                to->memory[EVENT_MEMORY_GROUP_KILL] = MEMORY_COUNT(css, MEMCG_OOM_GROUP_KILL);
        }
        /* In a cgroup of its own making it has another quota than the container's. */
        if (css != memory_of(task) || !bpf_core_field_exists(((struct task_struct *) 0)->sched_task_group) ||
            !bpf_core_field_exists(((struct task_group *) 0)->cfs_bandwidth))
                return;
        group = BPF_CORE_READ(task, sched_task_group);
        to->periods = BPF_CORE_READ(group, cfs_bandwidth.nr_periods);
        to->throttled_periods = BPF_CORE_READ(group, cfs_bandwidth.nr_throttled);
        to->throttled_ns = (__s64) BPF_CORE_READ(group, cfs_bandwidth.throttled_time);
}

static void fill_death(struct task_struct *task, EventDeath *to) {
        struct task_struct *parent = BPF_CORE_READ(task, group_leader, real_parent);
        __u64 start_ns = task->group_leader->start_boottime;
        __u32 pid = (__u32) task->tgid;
        struct Death *death = bpf_map_lookup_elem(&deaths, &pid);

        __builtin_memset(to, 0, sizeof(*to));
        if (death && death->start_ns == start_ns) {
                to->fatal = death->fatal;
                to->core = death->core;
                to->asked = death->asked;
                to->ignored = death->ignored;
        }
        if (death)
                bpf_map_delete_elem(&deaths, &pid);
        to->flags = death_flags;
        count_cgroups(task, to);
        to->parent = (__u32) BPF_CORE_READ(parent, tgid);
        bpf_probe_read_kernel_str(to->parent_comm, sizeof(to->parent_comm),
                                  (char *) BPF_CORE_READ(parent, group_leader) +
                                          bpf_core_field_offset(struct task_struct, comm));
}
