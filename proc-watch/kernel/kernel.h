#pragma once

#include <stdbool.h>

/*
 * The kernel's types, as far as watch.bpf.c reads them. Offsets do not matter: every access is relocated against the
 * running kernel's BTF when the program is loaded (CO-RE), so a field has only to exist under its name.
 */

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __s32 int32_t;
typedef __u64 uint64_t;
typedef __s64 int64_t;

/* Values of the BPF interface (linux/bpf.h). */
enum {
        BPF_ANY = 0,
        BPF_NOEXIST = 1,
        BPF_F_NO_PREALLOC = 1,
        BPF_RB_NO_WAKEUP = 1,
        BPF_RB_FORCE_WAKEUP = 2,
        BPF_RB_AVAIL_DATA = 0,
        BPF_MAP_TYPE_HASH = 1,
        BPF_MAP_TYPE_PERCPU_ARRAY = 6,
        BPF_MAP_TYPE_LRU_HASH = 9,
        BPF_MAP_TYPE_RINGBUF = 27,
};

/* Helpers that not each kernel has which this is loaded into; looked up by name, the numbers are BPF's. */
enum bpf_func_id {
        BPF_FUNC_task_pt_regs = 175, /* Linux 5.15 */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
        int counter;
} atomic_t;

typedef struct {
        __s64 counter;
} atomic64_t;

/* A long of the kernel's, which is built for 64 bits. */
typedef atomic64_t atomic_long_t;

typedef struct {
        __u32 val;
} kuid_t;

struct super_block {
        unsigned long s_magic;
};

struct inode {
        unsigned short i_mode;
        kuid_t i_uid;
        struct super_block *i_sb;
};

struct qstr {
        const unsigned char *name;
};

struct dentry {
        struct dentry *d_parent;
        struct qstr d_name;
};

struct vfsmount {
        struct dentry *mnt_root;
};

struct mount {
        struct mount *mnt_parent;
        struct dentry *mnt_mountpoint;
        struct vfsmount mnt;
};

struct path {
        struct vfsmount *mnt;
        struct dentry *dentry;
};

struct fs_struct {
        struct path root, pwd;
};

struct sock_common {
        unsigned short skc_family;
};

struct sock {
        struct sock_common __sk_common;
};

struct socket {
        struct sock *sk;
};

struct file {
        struct inode *f_inode;
        void *private_data;
        struct path f_path;
};

struct fdtable {
        unsigned int max_fds;
        struct file **fd;
};

struct files_struct {
        struct fdtable *fdt;
};

struct linux_binprm {
        struct file *file;
        const char *filename;
        const char *interp;
};

struct ns_common {
        unsigned int inum;
};

struct mnt_namespace {
        struct ns_common ns;
};

struct nsproxy {
        struct mnt_namespace *mnt_ns;
};

struct pid_namespace;

struct upid {
        int nr;
        struct pid_namespace *ns;
};

struct pid {
        unsigned int level;
        struct upid numbers[1];
};

struct user_namespace {
        int level;
};

struct cred {
        kuid_t uid, euid;
        struct user_namespace *user_ns;
};

struct percpu_counter {
        __s64 count;
};

/* An address space's pages by kind, since Linux 6.2 … */
struct mm_struct___percpu {
        struct percpu_counter rss_stat[4];
};

/* … and before. */
struct mm_rss_stat {
        atomic_long_t count[4];
};

struct mm_struct___old {
        struct mm_rss_stat rss_stat;
};

struct mm_struct {
        struct file *exe_file;
        unsigned long arg_start;
        unsigned long arg_end;
        unsigned long env_start;
        unsigned long env_end;
};

struct signal_struct {
        atomic_t live;
        unsigned int flags;
        int group_exit_code;
};

typedef void (*sighandler_t)(int);

struct sigaction {
        sighandler_t sa_handler;
};

struct k_sigaction {
        struct sigaction sa;
};

struct sighand_struct {
        struct k_sigaction action[64];
};

struct kernel_siginfo {
        int si_code;
};

struct cfs_bandwidth {
        int nr_periods;
        int nr_throttled;
        __u64 throttled_time;
};

struct task_group {
        struct cfs_bandwidth cfs_bandwidth;
};

struct sched_info {
        unsigned long long run_delay;
        unsigned long long last_arrival;
        unsigned long long last_queued;
};

/* A task's name for its state before Linux 5.14. */
struct task_struct___old {
        long state;
};

/* A task's in a kernel with KASAN, whose stacks are larger. */
struct task_struct___kasan {
        unsigned int kasan_depth;
};

/* Where the number of the system call is, by architecture. */
struct pt_regs___call_x86 {
        unsigned long orig_ax;
        unsigned long di;
};

struct pt_regs___call_arm64 {
        __s32 syscallno;
        __u64 orig_x0;
};

struct kernfs_node {
        __u64 id;
        const char *name;
};

struct cgroup;

struct cgroup_subsys_state {
        struct cgroup *cgroup;
        struct cgroup_subsys_state *parent;
};

struct cgroup {
        struct cgroup_subsys_state self;
        struct kernfs_node *kn;
};

enum cgroup_subsys_id {
        memory_cgrp_id = 0,
};

struct page_counter {
        atomic_long_t usage;
        unsigned long max;
};

enum memcg_memory_event {
        MEMCG_LOW,
        MEMCG_HIGH,
        MEMCG_MAX,
        MEMCG_OOM,
        MEMCG_OOM_KILL,
        MEMCG_OOM_GROUP_KILL, /* Linux 5.17 */
};

struct mem_cgroup {
        struct cgroup_subsys_state css;
        struct page_counter memory;
        atomic_long_t memory_events[8];
        atomic_long_t memory_events_local[8];
};

struct css_set {
        struct cgroup_subsys_state *subsys[1];
        struct cgroup *dfl_cgrp;
};

struct task_struct {
        int pid;
        int tgid;
        int exit_code;
        unsigned int flags;
        int pdeath_signal;
        unsigned int __state; /* before Linux 5.14 `state`, see below */
        void *stack;
        __u64 start_boottime;
        struct task_struct *group_leader;
        struct task_struct *real_parent;
        struct mm_struct *mm;
        const struct cred *cred;
        struct fs_struct *fs;
        struct nsproxy *nsproxy;
        struct files_struct *files;
        struct signal_struct *signal;
        struct sighand_struct *sighand;
        struct task_group *sched_task_group;
        struct css_set *cgroups;
        struct pid *thread_pid;
        struct sched_info sched_info;
        char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
        struct seq_file *seq;
};

struct bpf_iter__task {
        struct bpf_iter_meta *meta;
        struct task_struct *task;
};
struct pt_regs;

#pragma clang attribute pop
