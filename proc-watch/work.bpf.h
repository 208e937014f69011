/*
 * What a followed process spends its time with: pieces of work in the kernel (a mount, an fsync, a cgroup's file),
 * which are system calls of some length, and waits, from the scheduler. Part of watch.bpf.c.
 *
 * A tracepoint on every system call and every context switch is a price that all processes pay, so the reader attaches
 * these programs (probes.h) only while somebody's command or call is under way.
 */

/* Set by the reader: another number for each time in which these programs are attached; and likewise for each in which
 * engines' own work counts, too. */
__u32 follow;
__u32 follow_engines;

/* EventWork by number of system call, 0: not looked at. WAIT_PEER and _EVENT_WORK_MAX (idle) are about sleep only. Set
 * before loading. */
const volatile __u8 calls[EVENT_CALLS_MAX];

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, THREADS_MAX);
        __type(key, __u32);
        __type(value, Thread);
} threads SEC(".maps");

#define S_IFMT           0170000
#define S_IFIFO          0010000
#define S_IFSOCK         0140000
#define AF_NETLINK       16
#define CGROUP_MAGIC     0x27e0eb
#define CGROUP2_MAGIC    0x63677270
#define RING_FOR_PROCESS (RING_SIZE / 2) /* process events come first */

/* The entry of a task that is followed, made where it is missing; NULL if it is not. */
static Thread *followed(struct task_struct *task, bool *engine) {
        __u32 pid = task->tgid, tid = task->pid, turn = follow;
        const Track *entry = bpf_map_lookup_elem(&tracked, &pid);
        Thread fresh = {}, *thread;

        if (!entry || entry->flags & TRACK_CONTAINER)
                return NULL;
        *engine = entry->flags & TRACK_ENGINE;
        if (*engine && !follow_engines)
                return NULL;

        thread = bpf_map_lookup_elem(&threads, &tid);
        if (thread && thread->turn == turn && thread->start_ns == task->start_boottime)
                return thread;
        fresh.turn = turn;
        fresh.start_ns = task->start_boottime;
        if (bpf_map_update_elem(&threads, &tid, &fresh, BPF_ANY) != 0)
                return NULL;
        return bpf_map_lookup_elem(&threads, &tid);
}

static void emit_work(struct task_struct *task, __u32 work, __u64 begin_ns, __u64 end_ns) {
        Event event;

        if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > RING_FOR_PROCESS)
                return;
        fill(&event, EVENT_WORK, task);
        event.time_ns = end_ns;
        event.length_ns = end_ns - begin_ns;
        event.parent = task->pid;
        event.status = (__s32) work;
        (void) bpf_ringbuf_output(&ring, &event, sizeof(event), BPF_RB_NO_WAKEUP);
}

static __u32 kind_of_call(long call) {
        return call >= 0 && call < EVENT_CALLS_MAX ? calls[call] : 0;
}

/* The system call a task is in, -1: none (a fault, an interrupt); and its first argument. */
static int system_call(struct pt_regs *regs) {
        if (bpf_core_field_exists(((struct pt_regs___call_x86 *) 0)->orig_ax))
                return (int) ((struct pt_regs___call_x86 *) regs)->orig_ax;
        if (bpf_core_field_exists(((struct pt_regs___call_arm64 *) 0)->syscallno))
                return ((struct pt_regs___call_arm64 *) regs)->syscallno;
        return -1;
}

static long first_argument(struct pt_regs *regs) {
        if (bpf_core_field_exists(((struct pt_regs___call_x86 *) 0)->di))
                return (long) ((struct pt_regs___call_x86 *) regs)->di;
        if (bpf_core_field_exists(((struct pt_regs___call_arm64 *) 0)->orig_x0))
                return (long) ((struct pt_regs___call_arm64 *) regs)->orig_x0;
        return -1;
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

/* Opening a FIFO waits for whoever opens its other end. */
static bool is_fifo(struct file *file) {
        return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFIFO;
}

static bool is_netlink(struct file *file) {
        struct socket *socket;

        if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
                return false;
        socket = BPF_CORE_READ(file, private_data);
        return socket && BPF_CORE_READ(socket, sk, __sk_common.skc_family) == AF_NETLINK;
}

/* Is this system call what it is taken for, by the file that it is about? */
static bool is_work(struct task_struct *task, struct pt_regs *regs, __u32 work, long ret) {
        struct file *file;

        if (work == EVENT_WORK_CREATE) {
                file = file_of(task, ret);
                return !file || !is_fifo(file);
        }
        if (work != EVENT_WORK_CGROUP && work != EVENT_WORK_NETLINK)
                return true;
        file = file_of(task, first_argument(regs));
        if (!file)
                return false;
        return work == EVENT_WORK_CGROUP ? is_of_cgroup(file) : is_netlink(file);
}

SEC("?tp_btf/sys_enter")
int BPF_PROG(on_call, struct pt_regs *regs, long call) {
        __u32 work = kind_of_call(call);
        Thread *thread;
        bool engine;

        if (!work || work >= EVENT_WAIT_CPU || !follow)
                return 0;
        thread = followed(bpf_get_current_task_btf(), &engine);
        if (thread) {
                thread->work = work;
                thread->begin_ns = bpf_ktime_get_ns();
        }
        return 0;
}

SEC("?tp_btf/sys_exit")
int BPF_PROG(on_return, struct pt_regs *regs, long ret) {
        __u32 tid = (__u32) bpf_get_current_pid_tgid(), work;
        struct task_struct *task;
        Thread *thread;
        __u64 now;

        work = kind_of_call(system_call(regs));
        if (!work || work >= EVENT_WAIT_CPU || !follow)
                return 0;
        thread = bpf_map_lookup_elem(&threads, &tid);
        if (!thread || thread->turn != follow || !thread->work)
                return 0;
        thread->work = 0;
        now = bpf_ktime_get_ns();
        if (now - thread->begin_ns < EVENT_WORK_MIN_NS && work != EVENT_WORK_MOUNT && work != EVENT_WORK_NAMESPACE)
                return 0;

        task = bpf_get_current_task_btf();
        if (is_work(task, regs, work, ret))
                emit_work(task, work, thread->begin_ns, now);
        return 0;
}

/*
 * An engine's many threads are idle most of the time: what they sleep for says nothing, but that they run does. Go
 * gives a CPU up and takes it again all the time, so that only time with gaps makes pieces worth telling.
 */
static void ran(struct task_struct *task, Thread *thread) {
        __u64 now = bpf_ktime_get_ns(), in_ns = thread->in_ns;

        if (thread->run_turn != follow_engines || in_ns == 0)
                return;
        if (thread->ran_ns == 0 || in_ns - thread->out_ns > EVENT_RUN_GAP_NS) {
                thread->run_ns = in_ns;
                thread->ran_ns = 0;
        }
        thread->ran_ns += now - in_ns;
        thread->out_ns = now;
        if (thread->ran_ns >= EVENT_RUN_MIN_NS) {
                emit_work(task, EVENT_WORK_RUN, thread->run_ns, now);
                thread->ran_ns = 0;
        }
}

static void runs(Thread *thread) {
        if (thread->run_turn != follow_engines) {
                thread->run_turn = follow_engines;
                thread->ran_ns = 0;
        }
        thread->in_ns = bpf_ktime_get_ns();
}

static void switched_out(struct task_struct *task, bool preempted) {
        bool engine;
        Thread *thread = followed(task, &engine);

        if (!thread)
                return;
        if (engine) {
                ran(task, thread);
                return;
        }
        thread->out_ns = bpf_ktime_get_ns();
        thread->preempted = preempted || task->__state == 0;
        if (thread->in_ns != 0)
                thread->offset_ns = (__s64) (thread->in_ns - task->sched_info.last_arrival);
}

static void switched_in(struct task_struct *task) {
        __u64 now = bpf_ktime_get_ns(), queued_ns = now, out_ns;
        bool engine;
        Thread *thread = followed(task, &engine);
        __u32 kind;

        if (!thread)
                return;
        if (engine) {
                runs(thread);
                return;
        }
        thread->in_ns = now;
        out_ns = thread->out_ns;
        if (out_ns == 0 || now - out_ns < EVENT_WAIT_MIN_NS)
                return;

        /* Asleep until it was queued, then waiting for a CPU. */
        if (thread->preempted)
                queued_ns = out_ns;
        else if (thread->offset_ns != 0 && task->sched_info.last_queued != 0)
                queued_ns = task->sched_info.last_queued + (__u64) thread->offset_ns;
        if (queued_ns < out_ns || queued_ns > now)
                queued_ns = now;
        if (now - queued_ns >= EVENT_WAIT_MIN_NS)
                emit_work(task, EVENT_WAIT_CPU, queued_ns, now);
        if (thread->work || queued_ns - out_ns < EVENT_WAIT_MIN_NS)
                return;

        kind = kind_of_call(system_call((struct pt_regs *) bpf_task_pt_regs(task)));
        if (kind == EVENT_WAIT_PEER)
                emit_work(task, EVENT_WAIT_PEER, out_ns, queued_ns);
        else if (kind == 0)
                emit_work(task, EVENT_WAIT_KERNEL, out_ns, queued_ns);
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next) {
        if (!follow)
                return 0;
        switched_out(prev, preempt);
        switched_in(next);
        return 0;
}
