/*
 * Which processes are the host's own. Part of watch.bpf.c.
 *
 * A container can have the host's pid namespace (`hostPID`) and a file of root's called "runc" in its image, so neither
 * proves anything. The root directory does: a container's is its own, and no process gets the host's as the top of its
 * mount namespace without being root in the user namespace of the host. The mount namespace alone says less: systemd
 * gives engines one of their own, with the root of the host in it.
 *
 * Besides, the cgroup of a container that has been seen is a container's, whatever has been entered from there.
 */

#define ANCESTORS_MAX   128 /* of the reader */
#define ROOT_MOUNTS_MAX 8   /* mounts upon each other at the root */
#define GROUP_LEVELS    16  /* of cgroups in cgroups */

__u64 host_root; /* the root directory of process 1; 0: not known yet */

/* Set by the reader: the iterator tells nothing yet. */
enum {
        COLLECT_ALL = 1,        /* it looks what the host's root directory is, … */
        COLLECT_CONTAINERS = 2, /* … and which is the first process of each container */
};
__u32 collecting;

/*
 * The cgroups of containers that have been seen, by id, which is never used again; the least recently met make room.
 * Of version 2 the id has GROUP_UNIFIED; where a container has no cgroup of its own, GROUP_MONITOR and the pid of its
 * monitor stand for one.
 */
#define GROUP_UNIFIED (1ULL << 63)
#define GROUP_MONITOR (1ULL << 62)

struct Group {
        __u64 start_ns; /* of the first process of the container */
        __u32 pid;
        __u32 pad;
};

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, GROUPS_MAX);
        __type(key, __u64);
        __type(value, struct Group);
} groups SEC(".maps");

static struct cgroup_subsys_state *memory_of(struct task_struct *task) {
        struct cgroup_subsys_state *memory = NULL;
        int id = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);

        bpf_probe_read_kernel(&memory, sizeof(memory), BPF_CORE_READ(task, cgroups)->subsys + id);
        return memory;
}

static struct cgroup_subsys_state *unified_of(struct task_struct *task) {
        struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

        return (struct cgroup_subsys_state *) ((char *) cgroup + bpf_core_field_offset(struct cgroup, self));
}

static __u64 group_id(struct cgroup_subsys_state *of, __u64 kind) {
        __u64 id = of ? BPF_CORE_READ(of, cgroup, kn, id) : 0;

        return id != 0 ? id | kind : 0;
}

/* The cgroup of the container of @task, by which it differs from whoever has started it. */
static __u64 container_group(struct task_struct *task, struct task_struct *parent) {
        __u64 id = group_id(unified_of(task), GROUP_UNIFIED);

        if (id != 0 && id != group_id(unified_of(parent), GROUP_UNIFIED))
                return id;
        id = group_id(memory_of(task), 0);
        return id != 0 && id != group_id(memory_of(parent), 0) ? id : 0;
}

static void note_first(__u64 id, const struct Group *now) {
        const struct Group *known = bpf_map_lookup_elem(&groups, &id);

        if (!known || known->start_ns > now->start_ns)
                bpf_map_update_elem(&groups, &id, now, BPF_ANY);
}

/* Where version 2 tells containers apart, version 1 may limit their memory. */
static void note_memory(struct task_struct *task, struct task_struct *parent, const struct Group *now) {
        __u64 id = group_id(memory_of(task), 0);

        if (id != 0 && id != group_id(memory_of(parent), 0))
                note_first(id, now);
}

/* @task becomes a container's own: its first process, unless there is one. */
static void note_container(struct task_struct *task) {
        struct Group group = { .start_ns = task->group_leader->start_boottime, .pid = (__u32) task->tgid };
        struct task_struct *parent = BPF_CORE_READ(task, real_parent);
        __u64 id = container_group(task, parent);

        if (id != 0)
                note_first(id, &group);
        note_memory(task, parent, &group);
}

/*
 * Is @task, a child of the monitor @parent that runs already, the first process of a container? In a container with the
 * host's pid namespace whatever its parent leaves behind becomes the monitor's child.
 */
static bool is_first(struct task_struct *task, struct task_struct *parent) {
        struct Group now = { .start_ns = task->group_leader->start_boottime, .pid = (__u32) task->tgid }, *known;
        __u64 id = container_group(task, parent);

        if (id == 0)
                id = GROUP_MONITOR | (__u32) BPF_CORE_READ(parent, tgid);
        if (collecting) {
                note_first(id, &now);
                note_memory(task, parent, &now);
                return false;
        }
        known = bpf_map_lookup_elem(&groups, &id);
        return known && known->pid == now.pid && known->start_ns == now.start_ns;
}

static bool is_inside(struct cgroup_subsys_state *group, __u64 kind) {
        for (int i = 0; i < GROUP_LEVELS && group; i++) {
                __u64 id = group_id(group, kind);

                if (id != 0 && bpf_map_lookup_elem(&groups, &id))
                        return true;
                group = BPF_CORE_READ(group, parent);
        }
        return false;
}

static bool in_container_group(struct task_struct *task) {
        return is_inside(unified_of(task), GROUP_UNIFIED) || is_inside(memory_of(task), 0);
}

/* Process 1 is the last one above the reader, which asks; not every kernel's iterator comes by it. */
static bool learn_host(void) {
        struct task_struct *task = (struct task_struct *) bpf_get_current_task();

        for (int i = 0; i < ANCESTORS_MAX && task; i++) {
                if (BPF_CORE_READ(task, tgid) == 1) {
                        host_root = (__u64) BPF_CORE_READ(task, fs, root.dentry);
                        return true;
                }
                task = BPF_CORE_READ(task, real_parent);
        }
        return false;
}

/* Is the root directory of @task the host's, and the top of its mount namespace? A chroot(2) into it is not. */
static bool has_host_root(struct task_struct *task) {
        struct dentry *dentry = BPF_CORE_READ(task, fs, root.dentry);
        struct vfsmount *mnt = BPF_CORE_READ(task, fs, root.mnt);

        if (host_root == 0 || (__u64) dentry != host_root)
                return false;
        for (int i = 0; i < ROOT_MOUNTS_MAX; i++) {
                struct mount *mount, *parent;

                if (dentry != BPF_CORE_READ(mnt, mnt_root))
                        return false;
                mount = (struct mount *) ((char *) mnt - bpf_core_field_offset(struct mount, mnt));
                parent = BPF_CORE_READ(mount, mnt_parent);
                if (parent == mount)
                        return true;
                dentry = BPF_CORE_READ(mount, mnt_mountpoint);
                mnt = (struct vfsmount *) ((char *) parent + bpf_core_field_offset(struct mount, mnt));
        }
        return false;
}

/*
 * On whose behalf @task runs: what a user has made root's by a set-user-ID program is still the user's. Root of a user
 * namespace that is not the host's is nobody.
 */
static __u32 user_of(struct task_struct *task) {
        const struct cred *cred = BPF_CORE_READ(task, cred);
        __u32 uid = BPF_CORE_READ(cred, uid.val);

        return uid != 0 ? uid : BPF_CORE_READ(cred, euid.val);
}

static bool is_false_root(struct task_struct *task) {
        return user_of(task) == 0 && BPF_CORE_READ(task, cred, user_ns, level) != 0;
}

/* Is @task a process of the host: in no container, as far as anything tells? */
static bool on_host(struct task_struct *task) {
        return BPF_CORE_READ(task, thread_pid, level) == 0 && has_host_root(task) && !is_false_root(task) &&
               !in_container_group(task);
}
