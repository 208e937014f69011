/*
 * The kernel side of podspan-watch
 *
 * Decides which processes matter (a known program, or forked by one that matters), and reports their forks, execs,
 * renames, cgroup moves and exits, with the command line and a few named environment variables copied at exec: a
 * process that lives 0.3 ms has been read whole before it runs its first instruction. A container's own processes are
 * never followed: tracking of a branch ends with the exec of the container's command, of which only the exit is told.
 *
 * A name alone is not believed: its process must be the host's own (host.bpf.h), and either only root can have written
 * the program, or a container engine is among its ancestors.
 *
 * An unrelated process pays a hash look-up each for its fork, exec, rename and exit, and wakes nobody.
 */

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "event.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define RING_SIZE          (512 * 1024)
#define WRITABLE_BY_OTHERS 0022
#define OOM_GROUPS_MAX     1024
#define OOM_LEVELS_MAX     16 /* of cgroups in cgroups */
#define GROUPS_MAX         2048

struct {
        __uint(type, BPF_MAP_TYPE_RINGBUF);
        __uint(max_entries, RING_SIZE);
} ring SEC(".maps");

/* No LRU: an entry goes at the exit of its process, and one that is pushed out earlier would be a container's exit. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, TRACK_MAX);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, Track);
} tracked SEC(".maps");

/* Programs by name: the TrackFlags they begin with. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, NAMES_MAX);
        __type(key, char[EVENT_COMM_SIZE]);
        __type(value, __u32);
} names SEC(".maps");

/* When the OOM killer has last killed in a memory cgroup, by the cgroup. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, OOM_GROUPS_MAX);
        __type(key, __u64);
        __type(value, __u64);
} oom_groups SEC(".maps");

#define SCRATCH_MASK 8191

/* Room for one exec event; the pad lets the verifier see that a masked offset stays inside. */
struct Scratch {
        Event event;
        char data[SCRATCH_MASK + 1 + EVENT_VAR_MAX];
        Event found; /* resync: header and file name of a process that runs already */
        char found_file[EVENT_FILE_MAX];
};

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct Scratch);
} scratch SEC(".maps");

__u64 n_lost;      /* events that found the ring full */
__u64 n_untracked; /* processes that found the table full */
__u64 n_crowded;   /* what users' processes did and is not told, so that there is room for root's */
__u32 n_users;     /* processes in the table with TRACK_USER */

/*
 * With each event goes how many were lost before: what a process does after an event of its own was lost, and who is
 * forked by it or gets its pid, is behind that loss for the reader, too, however late it reads.
 */
static void fill(Event *event, __u16 type, struct task_struct *task) {
        *event = (Event){
                .time_ns = bpf_ktime_get_ns(),
                .start_ns = task->group_leader->start_boottime,
                .run_delay_ns = task->sched_info.run_delay,
                .type = type,
                .n_lost = (__u32) (n_lost + n_untracked),
                .pid = task->tgid,
        };
        bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), task->comm);
}

__u64 reader_ns; /* set by the reader: it looks into the ring then, whether woken or not; 0: not known */

typedef enum When {
        WITH_OTHERS, /* with what comes later, or when half of the ring is full */
        SOON,        /* when the reader looks by itself; it is woken if it does not */
        AT_ONCE,     /* it asks for something that will not be there for long */
} When;

static void emit(void *event, __u64 size, When when) {
        bool wake = when == AT_ONCE || (when == SOON && bpf_ktime_get_ns() + EVENT_READER_SLACK_NS >= reader_ns) ||
                    bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > RING_SIZE / 2;

        if (bpf_ringbuf_output(&ring, event, size, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP) != 0)
                __sync_fetch_and_add(&n_lost, 1);
}

static bool track(__u32 pid, const Track *entry) {
        if (bpf_map_update_elem(&tracked, &pid, entry, BPF_ANY) == 0)
                return true;
        __sync_fetch_and_add(&n_untracked, 1);
        return false;
}

/*
 * Any user can have a program of root's followed, by a link to it that is called as a runtime is, with all that it
 * forks. So other users than root have a part of the table and of the ring, and nothing of root's is lost for them.
 */
static bool is_crowded(__u32 flags) {
        if (!(flags & TRACK_USER) || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <= RING_SIZE / 2)
                return false;
        __sync_fetch_and_add(&n_crowded, 1);
        return true;
}

static void untrack(__u32 pid, __u32 flags) {
        if (bpf_map_delete_elem(&tracked, &pid) == 0 && flags & TRACK_USER)
                __sync_fetch_and_add(&n_users, (__u32) -1);
}

/* Can only root have written this program? */
static bool roots_own(struct file *file) {
        struct inode *inode = BPF_CORE_READ(file, f_inode);

        return BPF_CORE_READ(inode, i_uid.val) == 0 && !(BPF_CORE_READ(inode, i_mode) & WRITABLE_BY_OTHERS);
}

#include "host.bpf.h"

static __u32 mount_namespace(struct task_struct *task) {
        struct nsproxy *nsproxy = task->nsproxy;

        return nsproxy ? BPF_CORE_READ(nsproxy, mnt_ns, ns.inum) : 0;
}

#include "work.bpf.h"
#include "kill.bpf.h"

/* May @task, which is not followed yet, be followed? */
static bool admit(struct task_struct *task, Track *entry) {
        if (user_of(task) == 0)
                return true;
        entry->flags |= TRACK_USER;
        if (is_crowded(entry->flags))
                return false;
        if (n_users < TRACK_USERS_MAX)
                return true;
        __sync_fetch_and_add(&n_crowded, 1);
        return false;
}

static bool track_new(__u32 pid, const Track *entry) {
        if (!track(pid, entry))
                return false;
        if (entry->flags & TRACK_USER)
                __sync_fetch_and_add(&n_users, 1);
        return true;
}

/* The process @task, with @flags, is not followed any more. */
static void let_go(struct task_struct *task, __u32 flags) {
        Event event;

        untrack((__u32) task->tgid, flags);
        fill(&event, EVENT_EXIT, task);
        event.flags = EVENT_LET_GO;
        emit(&event, sizeof(event), WITH_OTHERS);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child) {
        __u32 parent_pid = parent->tgid, pid = child->tgid;
        Track *from, entry = {};
        Event event;

        if ((__u32) child->pid != pid)
                return 0;

        from = bpf_map_lookup_elem(&tracked, &parent_pid);
        if (!from || from->flags & TRACK_CONTAINER)
                return 0;

        entry.flags = from->flags & TRACK_DAEMON;
        if (!admit(child, &entry)) {
                from->flags |= TRACK_CROWDED;
                return 0;
        }
        if (from->flags & (TRACK_CRUN | TRACK_CRUN_EXEC))
                entry.flags |= TRACK_CRUN_CHILD | (from->flags & TRACK_CRUN_EXEC);
        else if (from->flags & TRACK_CRUN_CHILD)
                from->child = pid;
        entry.mnt_ns = from->mnt_ns;
        if (!track_new(pid, &entry))
                return 0;

        fill(&event, EVENT_FORK, child);
        event.parent = parent_pid;
        event.parent_start_ns = parent->group_leader->start_boottime;
        emit(&event, sizeof(event), WITH_OTHERS);
        return 0;
}

static bool variable_wanted(const char *s) {
        if (s[0] == 'C' && s[1] == 'N' && s[2] == 'I' && s[3] == '_')
                return s[4] == 'C' || s[4] == 'A' || s[4] == 'I' || s[4] == 'N';
        return s[0] == 'T' && s[1] == 'R' && s[2] == 'A' && s[3] == 'C' && s[4] == 'E' && s[5] == 'P' && s[6] == 'A' &&
               s[7] == 'R' && s[8] == 'E' && s[9] == 'N' && s[10] == 'T' && s[11] == '=';
}

/*
 * The loops below are bounded ones, which kernels before bpf_loop() (5.17) take, too. The verifier walks through each
 * turn, and remembers a limited number of branches not taken yet. So each loop is a function that is verified by itself
 * (not static), has few branches a turn, and masks an offset where it is set: two ways into a turn are one for the
 * verifier only where it knows the same of both.
 */

static struct Scratch *scratch_room(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&scratch, &zero);
}

/* Copies the named variables of the environment from @at to @end to @first in Scratch.data. Returns their size. */
__attribute__((noinline)) __u32 copy_environment(unsigned long at, unsigned long end, __u32 first) {
        struct Scratch *room = scratch_room();
        __u32 offset = first & SCRATCH_MASK;
        bool inside = false; /* of a variable longer than EVENT_VAR_MAX */

        if (!room)
                return 0;
        first = offset;
#pragma clang loop unroll(disable)
        for (int i = 0; i < EVENT_VARS_MAX; i++) {
                bool rest = inside;
                long len;

                if (at >= end || offset - first > EVENT_ENV_MAX - EVENT_VAR_MAX)
                        break;
                len = bpf_probe_read_user_str(room->data + offset, EVENT_VAR_MAX, (void *) at);
                if (len <= 0)
                        break;
                inside = len == EVENT_VAR_MAX;
                at += inside ? len - 1 : len;
                if (!rest && variable_wanted(room->data + offset))
                        offset = (offset + (__u32) len) & SCRATCH_MASK;
        }
        return offset - first;
}

#define WORD_EXEC 0x006578656300ULL /* NUL, "exec", NUL */
#define WORD_MASK 0xffffffffffffULL

/* Is "exec" one of the arguments, which are @size bytes at @first in Scratch.data? */
__attribute__((noinline)) int runs_exec(__u32 first, __u32 size) {
        const struct Scratch *room = scratch_room();
        __u64 word = 1;

        if (!room)
                return 0;
#pragma clang loop unroll(disable)
        for (__u32 i = 0; i < EVENT_ARGS_MAX; i++) {
                if (i >= size)
                        break;
                word = (word << 8 | (__u8) room->data[(first + i) & SCRATCH_MASK]) & WORD_MASK;
                if (word == WORD_EXEC)
                        return 1;
        }
        return 0;
}

/*
 * Copies the names in the path of a directory to @first in Scratch.data, each step one towards the root. Returns their
 * size, 0 where they do not fit.
 */
__attribute__((noinline)) __u32 copy_path(unsigned long at_dentry, unsigned long at_mnt, __u32 first) {
        struct dentry *dentry = (struct dentry *) at_dentry;
        struct vfsmount *mnt = (struct vfsmount *) at_mnt;
        struct Scratch *room = scratch_room();
        __u32 offset = first & SCRATCH_MASK;
        struct mount *mount, *parent;
        long len;

        if (!room)
                return 0;
        first = offset;
#pragma clang loop unroll(disable)
        for (int i = 0; i < EVENT_CWD_PARTS; i++) {
                if (offset - first > EVENT_CWD_MAX - EVENT_PART_MAX)
                        return 0;
                if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
                        /* Over the edge of a mount. */
                        mount = (struct mount *) ((char *) mnt - bpf_core_field_offset(struct mount, mnt));
                        parent = BPF_CORE_READ(mount, mnt_parent);
                        if (parent == mount)
                                return offset - first;
                        dentry = BPF_CORE_READ(mount, mnt_mountpoint);
                        mnt = (struct vfsmount *) ((char *) parent + bpf_core_field_offset(struct mount, mnt));
                        continue;
                }
                len = bpf_probe_read_kernel_str(room->data + offset, EVENT_PART_MAX,
                                                BPF_CORE_READ(dentry, d_name.name));
                if (len <= 0)
                        return 0;
                offset = (offset + (__u32) len) & SCRATCH_MASK;
                dentry = BPF_CORE_READ(dentry, d_parent);
        }
        return 0;
}

static void copy_exec(struct Scratch *room, struct linux_binprm *binprm, struct task_struct *task) {
        unsigned long args = task->mm->arg_start, size = task->mm->arg_end - args;
        __u32 offset = 0;
        long len;

        len = bpf_probe_read_kernel_str(room->data, EVENT_FILE_MAX, binprm->filename);
        if (len > 0 && len <= EVENT_FILE_MAX)
                offset = (__u32) len;
        room->event.file_size = (__u16) offset;

        if (size > EVENT_ARGS_MAX) {
                size = EVENT_ARGS_MAX;
                room->event.flags |= EVENT_ARGS_CUT;
        }
        if (bpf_probe_read_user(room->data + (offset & 511), size & 4095, (void *) args) == 0) {
                room->event.args_size = (__u16) size;
                offset += (__u32) size;
        }

        room->event.env_size = (__u16) copy_environment(task->mm->env_start, task->mm->env_end, offset);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *binprm) {
        __u32 pid = task->tgid, zero = 0, was_flags = 0, was_ns = 0, name_flags = 0, new_flags, *name, size;
        bool was_tracked = false, named = false, entrypoint;
        char comm[EVENT_COMM_SIZE] = {};
        struct Scratch *room;
        Track *entry, now = {};

        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (entry) {
                was_flags = entry->flags;
                was_ns = entry->mnt_ns;
                was_tracked = true;
        }
        if (was_flags & TRACK_CONTAINER)
                return 0;

        bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
        name = bpf_map_lookup_elem(&names, comm);
        if (name) {
                name_flags = *name;
                /* Of a script, the file is its interpreter's, which says nothing. */
                named = on_host(task) &&
                        (was_flags & TRACK_DAEMON || (binprm->interp == binprm->filename && roots_own(binprm->file)));
        }
        /* Without the barrier the compiler tests two pointers in one go, which the verifier forbids. */
        barrier_var(was_tracked);
        if (!was_tracked && !named)
                return 0;

        if (was_tracked && is_crowded(was_flags)) {
                let_go(task, was_flags);
                return 0;
        }
        if (!was_tracked && !admit(task, &now))
                return 0;
        new_flags = was_flags & TRACK_CROWDED;
        new_flags |= was_tracked ? was_flags & TRACK_USER : now.flags;

        if (was_tracked && (__u32) old_pid == pid)
                settle_last(task);
        now.mnt_ns = mount_namespace(task);
        entrypoint = was_flags & TRACK_INIT || (was_flags & TRACK_CRUN_CHILD && was_ns != 0 && now.mnt_ns != was_ns);
        if (entrypoint)
                now.flags = TRACK_CONTAINER;
        else if (named)
                now.flags = name_flags | (was_flags & TRACK_DAEMON);
        else if ((comm[0] >= '0' && comm[0] <= '9') || (comm[0] == 'e' && comm[1] == 'x' && comm[2] == 'e' && !comm[3]))
                /* a runtime that executes its own copy, by descriptor */
                now.flags = was_flags & (TRACK_CRUN | TRACK_CRUN_EXEC | TRACK_DAEMON);
        else
                now.flags = was_flags & TRACK_DAEMON;
        room = bpf_map_lookup_elem(&scratch, &zero);
        if (!room)
                return 0;
        fill(&room->event, EVENT_EXEC, task);
        room->event.uid = user_of(task);
        if (entrypoint) {
                note_container(task);
                room->event.flags = EVENT_ENTRYPOINT;
        } else {
                room->event.flags = (named ? EVENT_NAMED : 0) | (named || on_host(task) ? 0 : EVENT_INSIDE);
                copy_exec(room, binprm, task);
                if (now.flags & TRACK_CWD)
                        room->event.cwd_size = (__u16) copy_path((unsigned long) BPF_CORE_READ(task, fs, pwd.dentry),
                                                                 (unsigned long) BPF_CORE_READ(task, fs, pwd.mnt),
                                                                 (__u32) room->event.file_size + room->event.args_size +
                                                                         room->event.env_size);
        }
        if (now.flags & TRACK_CRUN && runs_exec(room->event.file_size, room->event.args_size))
                now.flags |= TRACK_CRUN_EXEC;
        now.flags |= new_flags;
        if (!(was_tracked ? track(pid, &now) : track_new(pid, &now)))
                return 0;

        size = sizeof(room->event) + room->event.file_size + room->event.args_size + room->event.env_size +
               room->event.cwd_size;
        if (size <= sizeof(room->event) + sizeof(room->data))
                emit(room, size, entrypoint || named || room->event.env_size > 0 ? AT_ONCE : SOON);
        return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm) {
        __u32 pid = task->tgid;
        Track *entry;
        Event event;

        if ((__u32) task->pid != pid)
                return 0;
        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (!entry || entry->flags & TRACK_CONTAINER)
                return 0;

        fill(&event, EVENT_RENAME, task);
        bpf_probe_read_kernel_str(event.comm, sizeof(event.comm), comm);

        /* "runc:[2:INIT]" and "youki:[2:INIT]"; any other rename says nothing. */
        if (event.comm[4] == ':' && event.comm[5] == '[') {
                if (event.comm[6] == '2')
                        entry->flags |= TRACK_INIT;
        } else if (event.comm[5] == ':' && event.comm[6] == '[') {
                if (event.comm[7] == '2')
                        entry->flags |= TRACK_INIT;
        } else {
                return 0;
        }
        if (!is_crowded(entry->flags))
                emit(&event, sizeof(event), WITH_OTHERS);
        return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_attach, struct cgroup *to, const char *path, struct task_struct *task) {
        __u32 pid = task->tgid;
        Track *entry = bpf_map_lookup_elem(&tracked, &pid);
        Event event;

        if (!entry || entry->flags & TRACK_CONTAINER || is_crowded(entry->flags))
                return 0;
        fill(&event, EVENT_ATTACH, task);
        emit(&event, sizeof(event), WITH_OTHERS);
        settle_attach();
        return 0;
}

/*
 * A child that has forked and goes, without a program of its own, was a step into a pid namespace that exists already:
 * its child is the container's. (What the container's first process forks, and waits for, is a hook.)
 */
static void hand_over(__u32 child) {
        Track *entry = bpf_map_lookup_elem(&tracked, &child);

        if (entry && !(entry->flags & TRACK_CONTAINER))
                entry->flags |= TRACK_CRUN_CHILD;
}

/* When has the OOM killer last killed anybody in this task's cgroup? */
static __u64 last_oom_kill(struct task_struct *task) {
        struct cgroup_subsys_state *memory = memory_of(task);
        __u64 id = memory ? BPF_CORE_READ(memory, cgroup, kn, id) : 0, *time_ns;

        time_ns = id != 0 ? bpf_map_lookup_elem(&oom_groups, &id) : NULL;
        return time_ns ? *time_ns : 0;
}

/* The end of a container's own process, which is told at once, with how it died. */
static void tell_death(struct task_struct *task, Event *event) {
        __u32 zero = 0;
        struct Scratch *room = bpf_map_lookup_elem(&scratch, &zero);

        event->flags |= EVENT_CONTAINER;
        event->oom_ns = last_oom_kill(task);
        if (!room)
                return;
        room->event = *event;
        fill_death(task, (EventDeath *) room->data);
        emit(room, sizeof(room->event) + sizeof(EventDeath), AT_ONCE);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task) {
        __u32 pid = task->tgid;
        Track *entry;
        Event event;
        bool container;

        settle_last(task);
        if (task->signal->live.counter != 0)
                return 0;
        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (!entry)
                return 0;

        fill(&event, EVENT_EXIT, task);
        event.status = task->signal->group_exit_code;
        if (event.status == 0)
                event.status = task->exit_code;
        if (entry->flags & TRACK_OOM)
                event.flags |= EVENT_OOM;
        if (entry->flags & TRACK_CROWDED)
                event.flags |= EVENT_CROWDED;
        if (entry->flags & TRACK_CRUN_CHILD && entry->child)
                hand_over(entry->child);
        container = entry->flags & TRACK_CONTAINER;
        untrack(pid, entry->flags);
        if (container)
                tell_death(task, &event);
        else
                emit(&event, sizeof(event), SOON);
        return 0;
}

static void mark_victim(__u32 pid) {
        Track *entry = bpf_map_lookup_elem(&tracked, &pid);

        if (entry)
                entry->flags |= TRACK_OOM;
}

/* Since Linux 6.8 the tracepoint hands over the task, before that its pid; one of the two gets loaded. */
SEC("?tp_btf/mark_victim")
int BPF_PROG(on_victim_task, struct task_struct *task) {
        struct cgroup_subsys_state *memory = memory_of(task);
        __u64 now_ns = bpf_ktime_get_ns();

        mark_victim(task->tgid);
        /* A container has lost a process where its cgroup or one below has. */
        for (int i = 0; i < OOM_LEVELS_MAX && memory; i++) {
                __u64 id = BPF_CORE_READ(memory, cgroup, kn, id);

                bpf_map_update_elem(&oom_groups, &id, &now_ns, BPF_ANY);
                memory = BPF_CORE_READ(memory, parent);
        }
        emit_victim(task);
        return 0;
}

SEC("?tp_btf/mark_victim")
int BPF_PROG(on_victim_pid, int pid) {
        mark_victim(pid);
        return 0;
}

/* Has its exit been told? */
static bool has_exited(struct task_struct *task) {
        return BPF_CORE_READ(task, signal, live.counter) == 0;
}

/*
 * Follows @task, which runs already. Where it exits meanwhile, its exit has been told of an untracked process, which is
 * to say not at all: its entry would be whose gets the pid.
 */
static bool track_found(struct task_struct *task, const Track *entry) {
        __u32 pid = (__u32) task->tgid;
        Track now = *entry;

        if (has_exited(task) || !admit(task, &now) || !track_new(pid, &now))
                return false;
        if (!has_exited(task))
                return true;
        untrack(pid, now.flags);
        bpf_map_delete_elem(&deaths, &pid);
        return false;
}

/* Tells what has been found, with @text of the kernel's; @parent may be NULL. */
static void tell_found(struct bpf_iter__task *ctx, struct task_struct *task, __u16 flags, struct task_struct *parent,
                       const void *text) {
        __u32 zero = 0;
        struct Scratch *room = bpf_map_lookup_elem(&scratch, &zero);
        long len;

        if (!room)
                return;
        fill(&room->found, EVENT_EXEC, task);
        room->found.flags = flags | EVENT_FOUND;
        if (parent) {
                room->found.parent = (__u32) BPF_CORE_READ(parent, tgid);
                room->found.parent_start_ns = BPF_CORE_READ(parent, group_leader, start_boottime);
        }
        room->found.age_ns = bpf_ktime_get_boot_ns() - room->found.start_ns;
        /* A container is its monitor's, whatever user its own process has. */
        room->found.uid = user_of(parent ? parent : task);
        len = bpf_probe_read_kernel_str(room->found_file, EVENT_FILE_MAX, text);
        room->found.file_size = len > 0 && len <= EVENT_FILE_MAX ? (__u16) len : 0;
        bpf_seq_write(ctx->meta->seq, &room->found, sizeof(room->found) + EVENT_FILE_MAX);
}

/* Could this be the first process of a container: a child of a shim or monitor, no runtime, and none on its way? */
static void find_container(struct bpf_iter__task *ctx, struct task_struct *task, const char *comm) {
        struct task_struct *parent = BPF_CORE_READ(task, real_parent);
        __u32 pid = (__u32) task->tgid, *name;
        char parent_comm[EVENT_COMM_SIZE] = {};
        Track now = { .flags = TRACK_CONTAINER }, *entry;
        struct cgroup_subsys_state *memory;
        struct file *file;

        if (!parent || (comm[4] == ':' && comm[5] == '[') || (comm[5] == ':' && comm[6] == '['))
                return;
        bpf_probe_read_kernel_str(parent_comm, sizeof(parent_comm), &parent->comm);
        name = bpf_map_lookup_elem(&names, parent_comm);
        if (!name || !(*name & TRACK_RESIDENT) || *name & TRACK_ENGINE)
                return;
        file = BPF_CORE_READ(parent, mm, exe_file);
        memory = memory_of(task);
        if (!file || !memory || !on_host(parent) || !roots_own(file) || !is_first(task, parent))
                return;
        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (entry ? entry->flags & TRACK_CONTAINER : track_found(task, &now))
                tell_found(ctx, task, EVENT_CONTAINER, parent, BPF_CORE_READ(memory, cgroup, kn, name));
}

/*
 * What runs already, read at the start and after losses: each long-lived program known by name, as the exec event that
 * was missed, without arguments. The kernel follows it from here on.
 */
SEC("iter/task")
int on_task(struct bpf_iter__task *ctx) {
        struct task_struct *task = ctx->task;
        __u32 pid, flags = 0, *name;
        char comm[EVENT_COMM_SIZE] = {};
        struct file *file;
        Track *entry, now = {};

        if (!task || task->pid != task->tgid)
                return 0;
        if (collecting == COLLECT_ALL && learn_host())
                collecting = COLLECT_CONTAINERS;
        if (collecting)
                learn_ooms(task);
        bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
        name = bpf_map_lookup_elem(&names, comm);
        if (!name)
                find_container(ctx, task, comm);
        if (!name || !(*name & TRACK_RESIDENT) || collecting)
                return 0;

        pid = (__u32) task->tgid;
        entry = bpf_map_lookup_elem(&tracked, &pid);
        if (entry)
                flags = entry->flags;
        file = BPF_CORE_READ(task, mm, exe_file);
        if (flags & TRACK_CONTAINER || !file || !on_host(task) || !(flags & TRACK_DAEMON || roots_own(file)))
                return 0;
        now.flags = *name;
        now.mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
        if (!entry && !track_found(task, &now))
                return 0;

        tell_found(ctx, task, EVENT_NAMED, NULL, BPF_CORE_READ(file, f_path.dentry, d_name.name));
        return 0;
}
