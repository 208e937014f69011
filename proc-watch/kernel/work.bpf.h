/*
 * What a followed process spends its time with: what it sleeps in, which is a piece of work in the kernel (a mount, an
 * fsync, a cgroup's file) or a wait, by the system call that it is in when it loses its CPU. Part of watch.bpf.c.
 *
 * A tracepoint on every system call would tell of those that do not sleep, too, but with it each call of all processes
 * of the machine takes 0.2 µs longer, even if its program does nothing, and a pod's start has some twenty thousand. One
 * on every context switch costs something as well, so the reader has it attached (probes.h) only while somebody's
 * command or call is under way.
 */

/* Set by the reader: another number for each time in which these programs are attached; and likewise for each in which
 * engines' own work counts, too. */
__u32 follow;
__u32 follow_engines;

/* EventWork by number of system call, 0: any other; IDLE: what sleeps in it says nothing. Set before loading. */
#define IDLE _EVENT_WORK_MAX
const volatile __u8 calls[EVENT_CALLS_MAX];

const volatile __u32 stack_size; /* of a task in the kernel; set before loading */

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, THREADS_MAX);
        __type(key, __u32);
        __type(value, Thread);
} threads SEC(".maps");

/* Since when each CPU runs what it runs. */
struct Cpu {
        __u64 switch_ns;
        __u32 turn; /* the value of `follow` that this is about */
};

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct Cpu);
} cpus SEC(".maps");

#define TASK_INTERRUPTIBLE 1
#define S_IFMT             0170000
#define S_IFSOCK           0140000
#define AF_NETLINK         16
#define CGROUP_MAGIC       0x27e0eb
#define CGROUP2_MAGIC      0x63677270
#define RING_FOR_PROCESS   (RING_SIZE / 2) /* process events come first */

/* The entry of a task that is followed, made where it is missing; NULL if it is not. */
static Thread *followed(__u32 pid, __u32 tid, __u64 start_ns, bool *engine) {
        __u32 turn = follow;
        const Track *entry = bpf_map_lookup_elem(&tracked, &pid);
        Thread fresh = {}, *thread;

        if (!entry || entry->flags & TRACK_CONTAINER)
                return NULL;
        *engine = entry->flags & TRACK_ENGINE;
        if (*engine && !follow_engines)
                return NULL;

        thread = bpf_map_lookup_elem(&threads, &tid);
        if (thread && thread->turn == turn && thread->start_ns == start_ns)
                return thread;
        fresh.turn = turn;
        fresh.start_ns = start_ns;
        if (bpf_map_update_elem(&threads, &tid, &fresh, BPF_ANY) != 0)
                return NULL;
        return bpf_map_lookup_elem(&threads, &tid);
}

/* Process events come first. */
static bool has_room(void) {
        return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <= RING_FOR_PROCESS;
}

static void emit_filled(Event *event, __u32 tid, __u32 work, __u64 begin_ns, __u64 end_ns) {
        event->time_ns = end_ns;
        event->length_ns = end_ns - begin_ns;
        event->parent = tid;
        event->status = (__s32) work;
        (void) bpf_ringbuf_output(&ring, event, sizeof(*event), BPF_RB_NO_WAKEUP);
}

static void emit_work(struct task_struct *task, __u32 work, __u64 begin_ns, __u64 end_ns) {
        Event event;

        if (!has_room())
                return;
        fill(&event, EVENT_WORK, task);
        emit_filled(&event, task->pid, work, begin_ns, end_ns);
}

/*
 * The current task, where no tracepoint hands it over. What the verifier lets us read at once is had by
 * bpf_get_current_task_btf() only, which is of Linux 5.11: this one is read by BPF_CORE_READ().
 */
static struct task_struct *current_task(void) {
        return (struct task_struct *) bpf_get_current_task();
}

static void emit_current_work(__u32 work, __u64 begin_ns, __u64 end_ns) {
        __u64 id = bpf_get_current_pid_tgid();
        Event event = {
                .start_ns = BPF_CORE_READ(current_task(), group_leader, start_boottime),
                .type = EVENT_WORK,
                .n_lost = (__u32) (n_lost + n_untracked),
                .pid = (__u32) (id >> 32),
        };

        if (!has_room())
                return;
        bpf_get_current_comm(event.comm, sizeof(event.comm));
        emit_filled(&event, (__u32) id, work, begin_ns, end_ns);
}

static __u32 kind_of_call(long call) {
        return call >= 0 && call < EVENT_CALLS_MAX ? calls[call] : 0;
}

/* Has this kernel bpf_task_pt_regs()? */
#define HAS_TASK_PT_REGS (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))

/*
 * What a task had in its registers when it entered the kernel, for kernels without the helper: x86 and arm64 put it at
 * the end of the stack that the task has in the kernel. (Not before something else, as x86 with FRED does since 6.9.)
 */
static __always_inline struct pt_regs *registers(struct task_struct *task) {
        __u64 stack = (__u64) BPF_CORE_READ(task, stack);

        return (struct pt_regs *) (stack + stack_size - bpf_core_type_size(struct pt_regs___call_x86));
}

/* Reads a register, at once where @regs is bpf_task_pt_regs()'s (@known). */
#define REGISTER(known, regs, type, field) ((known) ? ((type *) (regs))->field : BPF_CORE_READ((type *) (regs), field))

/* The system call a task is in, -1: none (a fault, an interrupt); and its first argument. */
static __always_inline int call_number(struct pt_regs *regs, bool known) {
        if (!known && bpf_core_field_exists(((struct task_struct___kasan *) 0)->kasan_depth))
                return -1;
        if (bpf_core_field_exists(((struct pt_regs___call_x86 *) 0)->orig_ax))
                return (int) REGISTER(known, regs, struct pt_regs___call_x86, orig_ax);
        if (bpf_core_field_exists(((struct pt_regs___call_arm64 *) 0)->syscallno))
                return REGISTER(known, regs, struct pt_regs___call_arm64, syscallno);
        return -1;
}

static __always_inline long call_argument(struct pt_regs *regs, bool known) {
        if (bpf_core_field_exists(((struct pt_regs___call_x86 *) 0)->di))
                return (long) REGISTER(known, regs, struct pt_regs___call_x86, di);
        if (bpf_core_field_exists(((struct pt_regs___call_arm64 *) 0)->orig_x0))
                return (long) REGISTER(known, regs, struct pt_regs___call_arm64, orig_x0);
        return -1;
}

static __always_inline int system_call(struct task_struct *task) {
        if (HAS_TASK_PT_REGS)
                return call_number((struct pt_regs *) bpf_task_pt_regs(task), true);
        return call_number(registers(task), false);
}

static __always_inline long first_argument(struct task_struct *task) {
        if (HAS_TASK_PT_REGS)
                return call_argument((struct pt_regs *) bpf_task_pt_regs(task), true);
        return call_argument(registers(task), false);
}

/* The call that the current task is in. */
static __always_inline int current_call(void) {
        if (HAS_TASK_PT_REGS)
                return call_number((struct pt_regs *) bpf_task_pt_regs(bpf_get_current_task_btf()), true);
        return call_number(registers(current_task()), false);
}

/* The file behind a descriptor of this task, NULL if there is none. */
static struct file *file_of(struct task_struct *task, long fd) {
        struct fdtable *table = BPF_CORE_READ(task, files, fdt);
        struct file *file = NULL, **files;

        if (fd < 0 || !table || (unsigned long) fd >= BPF_CORE_READ(table, max_fds))
                return NULL;
        files = BPF_CORE_READ(table, fd);
        bpf_probe_read_kernel(&file, sizeof(file), files + fd);
        return file;
}

static bool is_of_cgroup(struct file *file) {
        unsigned long magic = BPF_CORE_READ(file, f_inode, i_sb, s_magic);

        return magic == CGROUP_MAGIC || magic == CGROUP2_MAGIC;
}

static bool is_netlink(struct file *file) {
        struct socket *socket;

        if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
                return false;
        socket = BPF_CORE_READ(file, private_data);
        return socket && BPF_CORE_READ(socket, sk, __sk_common.skc_family) == AF_NETLINK;
}

static __always_inline long state_of(struct task_struct *task) {
        if (bpf_core_field_exists(task->__state))
                return task->__state;
        return ((struct task_struct___old *) task)->state;
}

/*
 * What a task that goes to sleep sleeps in: EventWork, 0: any other call, IDLE: nothing that is told. By the call alone
 * where that says it, else by the file that it is about.
 */
static __u32 what_sleeps(struct task_struct *task) {
        __u32 kind = kind_of_call(system_call(task));
        struct file *file;

        /* Opening a FIFO waits for whoever opens its other end; a disk cannot be interrupted. */
        if (kind == EVENT_WORK_CREATE)
                return state_of(task) & TASK_INTERRUPTIBLE ? IDLE : kind;
        if (kind != EVENT_WORK_CGROUP && kind != EVENT_WORK_NETLINK)
                return kind;
        file = file_of(task, first_argument(task));
        if (!file)
                return 0;
        return (kind == EVENT_WORK_CGROUP ? is_of_cgroup(file) : is_netlink(file)) ? kind : 0;
}

/* Since when the task that runs on this CPU does so; 0: not known. */
static __u64 arrived(void) {
        __u32 zero = 0;
        const struct Cpu *cpu = bpf_map_lookup_elem(&cpus, &zero);

        return cpu && cpu->turn == follow ? cpu->switch_ns : 0;
}

/*
 * Tells what @thread, which runs since @in_ns, slept in before that: asleep until it was queued, then waiting for a
 * CPU. Only once it goes to sleep again: a look at each task that gets a CPU would cost as much as one at each that
 * loses it.
 */
static void settle(struct task_struct *task, Thread *thread, bool engine, __u64 in_ns) {
        __u64 out_ns = thread->out_ns, delay_ns = task->sched_info.run_delay - thread->delay_ns, queued_ns;
        __u32 kind = thread->kind;

        thread->out_ns = 0;
        if (out_ns == 0 || in_ns <= out_ns)
                return;
        if (kind > 0 && kind < EVENT_WAIT_CPU &&
            (in_ns - out_ns >= EVENT_WORK_MIN_NS || kind == EVENT_WORK_MOUNT || kind == EVENT_WORK_NAMESPACE))
                emit_work(task, kind, out_ns, in_ns);
        if (engine || in_ns - out_ns < EVENT_WAIT_MIN_NS)
                return;

        queued_ns = in_ns - (delay_ns < in_ns - out_ns ? delay_ns : in_ns - out_ns);
        if (in_ns - queued_ns >= EVENT_WAIT_MIN_NS)
                emit_work(task, EVENT_WAIT_CPU, queued_ns, in_ns);
        if (queued_ns - out_ns < EVENT_WAIT_MIN_NS)
                return;
        if (kind == EVENT_WAIT_PEER)
                emit_work(task, EVENT_WAIT_PEER, out_ns, queued_ns);
        else if (kind == 0)
                emit_work(task, EVENT_WAIT_KERNEL, out_ns, queued_ns);
}

/* The same where a task will not go to sleep as who it is: its process executes something, or it ends. */
static void settle_last(struct task_struct *task) {
        __u32 tid = (__u32) task->pid;
        Thread *thread;
        __u64 in_ns;

        if (!follow)
                return;
        thread = bpf_map_lookup_elem(&threads, &tid);
        if (!thread || thread->turn != follow || thread->start_ns != task->start_boottime || thread->run_turn != 0)
                return;
        in_ns = arrived();
        if (in_ns != 0)
                settle(task, thread, false, in_ns);
}

/* Somebody is put into a cgroup, for which whoever writes that has waited: until now. */
static void settle_attach(void) {
        __u32 tid = (__u32) bpf_get_current_pid_tgid();
        Thread *thread;

        if (!follow)
                return;
        thread = bpf_map_lookup_elem(&threads, &tid);
        if (thread && thread->turn == follow && thread->out_ns != 0 && thread->kind == EVENT_WORK_CGROUP &&
            thread->start_ns == BPF_CORE_READ(current_task(), start_boottime) &&
            kind_of_call(current_call()) == EVENT_WORK_CGROUP) {
                emit_current_work(EVENT_WORK_CGROUP, thread->out_ns, bpf_ktime_get_ns());
                thread->out_ns = 0;
        }
}

/*
 * An engine's many threads are idle most of the time: what they sleep for says little, but that they run does. Go
 * gives a CPU up and takes it again all the time, so that only time with gaps makes pieces worth telling.
 */
static void ran(struct task_struct *task, Thread *thread, __u64 in_ns, __u64 now) {
        if (thread->run_turn != follow_engines) {
                thread->run_turn = follow_engines;
                thread->ran_ns = 0;
        }
        if (thread->ran_ns == 0 || in_ns - thread->ran_until_ns > EVENT_RUN_GAP_NS) {
                thread->run_ns = in_ns;
                thread->ran_ns = 0;
        }
        thread->ran_ns += now - in_ns;
        thread->ran_until_ns = now;
        if (thread->ran_ns >= EVENT_RUN_MIN_NS) {
                emit_work(task, EVENT_WORK_RUN, thread->run_ns, now);
                thread->ran_ns = 0;
        }
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next) {
        __u32 zero = 0;
        struct Cpu *cpu;
        Thread *thread;
        __u64 now, in_ns;
        bool engine;

        if (!follow)
                return 0;
        thread = prev->pid != 0 ? followed(prev->tgid, prev->pid, prev->start_boottime, &engine) : NULL;
        if (!thread && next->pid == 0)
                return 0; /* since when a CPU is idle nobody asks */
        cpu = bpf_map_lookup_elem(&cpus, &zero);
        if (!cpu)
                return 0;
        now = bpf_ktime_get_ns();
        in_ns = cpu->turn == follow ? cpu->switch_ns : 0;
        cpu->switch_ns = now;
        cpu->turn = follow;
        if (!thread)
                return 0;

        if (in_ns != 0) {
                settle(prev, thread, engine, in_ns);
                if (engine)
                        ran(prev, thread, in_ns, now);
        }
        thread->out_ns = now;
        thread->delay_ns = prev->sched_info.run_delay;
        thread->kind = what_sleeps(prev);
        return 0;
}

static Thread *followed_current(bool *engine) {
        __u64 id = bpf_get_current_pid_tgid();

        return followed((__u32) (id >> 32), (__u32) id, BPF_CORE_READ(current_task(), start_boottime), engine);
}

/*
 * A mount is made, which most often takes no sleep: there is no tracepoint that says so, but each has counters per CPU.
 * How long the call takes is not known, but that and when the container's init mounts tells its phases.
 */
SEC("?tp_btf/percpu_alloc_percpu")
int on_counters(void *ctx) {
        Thread *thread;
        bool engine;
        __u64 now;

        if (!follow || kind_of_call(current_call()) != EVENT_WORK_MOUNT)
                return 0;
        thread = followed_current(&engine);
        if (!thread || engine)
                return 0;
        /* One call may make many. */
        now = bpf_ktime_get_ns();
        if (now - thread->mount_ns < EVENT_MOUNT_GAP_NS)
                return 0;
        thread->mount_ns = now;
        emit_current_work(EVENT_WORK_MOUNT, now, now);
        return 0;
}

/*
 * A file is made. Where the file system is large, finding a place for it keeps a CPU busy for longer than all the rest
 * of the call. Of ext4, where it is built into the kernel.
 */
SEC("?tp_btf/ext4_request_inode")
int on_inode_begin(void *ctx) {
        Thread *thread;
        bool engine;

        if (!follow)
                return 0;
        thread = followed_current(&engine);
        if (thread)
                thread->inode_ns = bpf_ktime_get_ns();
        return 0;
}

SEC("?tp_btf/ext4_allocate_inode")
int on_inode_end(void *ctx) {
        __u32 tid = (__u32) bpf_get_current_pid_tgid(), kind;
        Thread *thread;
        __u64 now;

        if (!follow)
                return 0;
        thread = bpf_map_lookup_elem(&threads, &tid);
        if (!thread || thread->turn != follow || thread->inode_ns == 0)
                return 0;
        now = bpf_ktime_get_ns();
        kind = kind_of_call(current_call());
        if (now - thread->inode_ns >= EVENT_WORK_MIN_NS && kind > 0 && kind < EVENT_WAIT_CPU)
                emit_current_work(kind, thread->inode_ns, now);
        thread->inode_ns = 0;
        return 0;
}
