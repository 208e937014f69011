#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include "util.h"
#include "waitkind.h"

/* What a system call waits for. The number after it says which argument that is. */
typedef enum Class {
        CLASS_READ,
        CLASS_WRITE,
        CLASS_FD, /* neither: fsync, getdents, ioctl */
        CLASS_ACCEPT,
        CLASS_CONNECT,
        CLASS_FLOCK,
        CLASS_FCNTL,
        CLASS_OPEN,   /* a path */
        CLASS_OPENAT, /* a descriptor, then a path */
        CLASS_PATH,
        CLASS_PATHAT,
        CLASS_POLL,
        CLASS_SELECT,
        CLASS_EPOLL,
        CLASS_CHILD, /* wait4 */
        CLASS_CHILD_ID,
        CLASS_SLEEP,
        CLASS_FUTEX,
        CLASS_SIGNAL,
        CLASS_OTHER, /* only its name is known */
} Class;

typedef struct Call {
        int nr;
        const char *name;
        Class class;
        unsigned arg;
} Call;

#define CALL(name, class, arg) \
        { SYS_##name, #name, CLASS_##class, arg }

static const Call calls[] = {
        CALL(read, READ, 0),
        CALL(readv, READ, 0),
        CALL(pread64, READ, 0),
        CALL(preadv, READ, 0),
        CALL(preadv2, READ, 0),
        CALL(recvfrom, READ, 0),
        CALL(recvmsg, READ, 0),
        CALL(recvmmsg, READ, 0),
        CALL(splice, READ, 0),
        CALL(sendfile, READ, 1),
        CALL(write, WRITE, 0),
        CALL(writev, WRITE, 0),
        CALL(pwrite64, WRITE, 0),
        CALL(pwritev, WRITE, 0),
        CALL(pwritev2, WRITE, 0),
        CALL(sendto, WRITE, 0),
        CALL(sendmsg, WRITE, 0),
        CALL(sendmmsg, WRITE, 0),
        CALL(accept, ACCEPT, 0),
        CALL(accept4, ACCEPT, 0),
        CALL(connect, CONNECT, 0),
        CALL(fsync, FD, 0),
        CALL(fdatasync, FD, 0),
        CALL(syncfs, FD, 0),
        CALL(close, FD, 0),
        CALL(ioctl, FD, 0),
        CALL(fstat, FD, 0),
        CALL(fstatfs, FD, 0),
        CALL(getdents64, FD, 0),
        CALL(ftruncate, FD, 0),
        CALL(fallocate, FD, 0),
        CALL(fchdir, FD, 0),
        CALL(flock, FLOCK, 0),
        CALL(fcntl, FCNTL, 0),
        CALL(openat, OPENAT, 0),
        CALL(openat2, OPENAT, 0),
        CALL(newfstatat, PATHAT, 0),
        CALL(statx, PATHAT, 0),
        CALL(faccessat, PATHAT, 0),
        CALL(faccessat2, PATHAT, 0),
        CALL(readlinkat, PATHAT, 0),
        CALL(mkdirat, PATHAT, 0),
        CALL(mknodat, PATHAT, 0),
        CALL(unlinkat, PATHAT, 0),
        CALL(renameat, PATHAT, 0),
        CALL(renameat2, PATHAT, 0),
        CALL(linkat, PATHAT, 0),
        CALL(fchownat, PATHAT, 0),
        CALL(fchmodat, PATHAT, 0),
        CALL(utimensat, PATHAT, 0),
        CALL(execveat, PATHAT, 0),
        CALL(move_mount, PATHAT, 2),
        CALL(open_tree, PATHAT, 0),
        CALL(mount, PATH, 1),
        CALL(umount2, PATH, 0),
        CALL(execve, PATH, 0),
        CALL(statfs, PATH, 0),
        CALL(chdir, PATH, 0),
        CALL(truncate, PATH, 0),
        CALL(pivot_root, PATH, 0),
        CALL(getxattr, PATH, 0),
        CALL(setxattr, PATH, 0),
        CALL(ppoll, POLL, 0),
        CALL(pselect6, SELECT, 0),
        CALL(epoll_pwait, EPOLL, 0),
        CALL(epoll_pwait2, EPOLL, 0),
        CALL(wait4, CHILD, 0),
        CALL(waitid, CHILD_ID, 0),
        CALL(nanosleep, SLEEP, 0),
        CALL(clock_nanosleep, SLEEP, 0),
        CALL(futex, FUTEX, 0),
        CALL(rt_sigtimedwait, SIGNAL, 0),
        CALL(rt_sigsuspend, SIGNAL, 0),
        CALL(setns, FD, 0),
        CALL(unshare, OTHER, 0),
        CALL(clone, OTHER, 0),
        CALL(sync, OTHER, 0),
        CALL(fsopen, OTHER, 0),
        CALL(fsmount, FD, 0),
        CALL(fsconfig, FD, 0),
        CALL(msync, OTHER, 0),
        CALL(munmap, OTHER, 0),
        CALL(exit_group, OTHER, 0),
        CALL(exit, OTHER, 0),
        CALL(bpf, OTHER, 0),
        CALL(ptrace, OTHER, 0),
        CALL(init_module, OTHER, 0),
        CALL(finit_module, FD, 0),
        CALL(io_uring_enter, FD, 0),
        CALL(io_getevents, OTHER, 0),
        CALL(semtimedop, OTHER, 0),
        CALL(msgrcv, OTHER, 0),
        CALL(msgsnd, OTHER, 0),
        CALL(restart_syscall, OTHER, 0),
/* Of older architectures. */
#ifdef SYS_open
        CALL(open, OPEN, 0),
        CALL(creat, OPEN, 0),
        CALL(stat, PATH, 0),
        CALL(lstat, PATH, 0),
        CALL(access, PATH, 0),
        CALL(readlink, PATH, 0),
        CALL(mkdir, PATH, 0),
        CALL(mknod, PATH, 0),
        CALL(rmdir, PATH, 0),
        CALL(unlink, PATH, 0),
        CALL(rename, PATH, 0),
        CALL(link, PATH, 0),
        CALL(chmod, PATH, 0),
        CALL(chown, PATH, 0),
        CALL(lchown, PATH, 0),
        CALL(getdents, FD, 0),
        CALL(poll, POLL, 0),
        CALL(select, SELECT, 0),
        CALL(epoll_wait, EPOLL, 0),
        CALL(pause, SIGNAL, 0),
        CALL(fork, OTHER, 0),
        CALL(vfork, CHILD, 6),
#endif
};

const char *waitkind_name(WaitKind kind) {
        static const char *const names[_WAIT_KIND_MAX] = {
                [WAIT_UNKNOWN] = "unknown", [WAIT_CPU] = "cpu",         [WAIT_FILE] = "file",
                [WAIT_LOCK] = "lock",       [WAIT_FIFO] = "fifo",       [WAIT_UNIX] = "unix",
                [WAIT_TCP] = "tcp",         [WAIT_NETLINK] = "netlink", [WAIT_MOUNT] = "mount",
                [WAIT_FREEZER] = "freezer", [WAIT_STOPPED] = "stopped", [WAIT_CHILD] = "child",
                [WAIT_SLEEP] = "sleep",
        };

        return names[kind];
}

static const Call *call_find(int64_t nr) {
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                if (calls[i].nr == nr)
                        return &calls[i];
        return NULL;
}

/* Is one of the functions of @stack, or @wchan itself, one that begins with @prefix? */
static bool in_kernel(const WaitFacts *facts, const char *prefix) {
        size_t n = strlen(prefix);

        if (strncmp(facts->wchan, prefix, n) == 0)
                return true;
        /* "[<0>] request_wait_answer+0x12/0x34 [fuse]" */
        for (const char *at = facts->stack; (at = strstr(at, "] ")); at += 2)
                if (strncmp(at + 2, prefix, n) == 0)
                        return true;
        return false;
}

/* Functions in which the kernel waits for the server of a file system. */
static bool waits_server(const WaitFacts *facts) {
        static const char *const functions[] = {
                "request_wait_answer",
                "fuse_",
                "__fuse_",
                "rpc_wait_bit_killable",
                "rpc_execute",
                "nfs_",
                "nfs3_",
                "nfs4_",
                "nfs41_",
                "cifs_",
                "smb2_",
                "wait_for_response",
                "ceph_",
                "afs_",
                "p9_",
                "v9fs_",
                "gfs2_",
                "ocfs2_",
                "autofs_wait",
        };

        /* A server that waits for requests. */
        if (in_kernel(facts, "fuse_dev_"))
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
                if (in_kernel(facts, functions[i]))
                        return true;
        return false;
}

/* Descriptors are int: the kernel looks at 32 bits only. */
static int fd_of(uint64_t arg) {
        return (int) (uint32_t) arg;
}

static void plan_fd(WaitPlan *plan, WaitUse use, uint64_t arg) {
        plan->object = WAIT_OBJECT_FD;
        plan->use = use;
        plan->fd = fd_of(arg);
}

static void plan_path(WaitPlan *plan, WaitUse use, int dir_fd, uint64_t address) {
        plan->object = WAIT_OBJECT_PATH;
        plan->use = use;
        plan->dir_fd = dir_fd;
        plan->address = address;
}

static void plan_none(WaitPlan *plan, WaitKind kind, const char *phrase) {
        plan->kind = kind;
        plan->phrase = phrase;
}

static void plan_fcntl(WaitPlan *plan, const uint64_t *args) {
        if (args[1] == F_SETLKW)
                plan_fd(plan, WAIT_USE_LOCK_RECORD, args[0]);
        else if (args[1] == F_OFD_SETLKW)
                plan_fd(plan, WAIT_USE_LOCK, args[0]);
        else
                plan_fd(plan, WAIT_USE_OTHER, args[0]);
}

/* waitid(): P_PID and P_PIDFD name one. */
static void plan_waitid(WaitPlan *plan, const uint64_t *args) {
        if ((uint32_t) args[0] == 3) {
                plan_fd(plan, WAIT_USE_OTHER, args[1]);
                return;
        }
        plan->kind = WAIT_CHILD;
        plan->object = WAIT_OBJECT_CHILD;
        plan->address = (uint32_t) args[0] == 1 ? (uint32_t) args[1] : 0;
}

static void plan_call(WaitPlan *plan, const Call *call, const uint64_t *args) {
        switch (call->class) {
        case CLASS_READ:
                plan_fd(plan, WAIT_USE_READ, args[call->arg]);
                return;
        case CLASS_WRITE:
                plan_fd(plan, WAIT_USE_WRITE, args[call->arg]);
                return;
        case CLASS_FD:
                plan_fd(plan, WAIT_USE_OTHER, args[call->arg]);
                return;
        case CLASS_ACCEPT:
                plan_fd(plan, WAIT_USE_ACCEPT, args[call->arg]);
                return;
        case CLASS_FLOCK:
                plan_fd(plan, WAIT_USE_LOCK, args[call->arg]);
                return;
        case CLASS_FCNTL:
                plan_fcntl(plan, args);
                return;
        case CLASS_CONNECT:
                plan_fd(plan, WAIT_USE_OPEN, args[0]);
                plan->object = WAIT_OBJECT_CONNECT;
                plan->address = args[1];
                plan->length = args[2];
                return;
        case CLASS_OPEN:
                plan_path(plan, WAIT_USE_OPEN, AT_FDCWD, args[0]);
                plan->length = args[1];
                return;
        case CLASS_OPENAT:
                plan_path(plan, WAIT_USE_OPEN, fd_of(args[0]), args[1]);
                plan->length = args[2];
                return;
        case CLASS_PATH:
                plan_path(plan, WAIT_USE_OTHER, AT_FDCWD, args[call->arg]);
                return;
        case CLASS_PATHAT:
                plan_path(plan, WAIT_USE_OTHER, fd_of(args[call->arg]), args[call->arg + 1]);
                return;
        case CLASS_POLL:
                plan->object = WAIT_OBJECT_POLL;
                plan->address = args[0];
                plan->length = (uint32_t) args[1];
#ifdef SYS_poll
                plan->has_timeout = call->nr == SYS_poll ? (int32_t) args[2] >= 0 : args[2] != 0;
#else
                plan->has_timeout = args[2] != 0;
#endif
                return;
        case CLASS_SELECT:
                plan->object = WAIT_OBJECT_SELECT;
                plan->length = (uint32_t) args[0];
                plan->address = args[1];
                plan->address2 = args[2];
                plan->has_timeout = args[4] != 0;
                return;
        case CLASS_EPOLL:
                plan->object = WAIT_OBJECT_EPOLL;
                plan->fd = fd_of(args[0]);
                plan->has_timeout = call->nr == SYS_epoll_pwait2 ? args[3] != 0 : (int32_t) args[3] >= 0;
                return;
        case CLASS_CHILD:
                plan->kind = WAIT_CHILD;
                plan->object = WAIT_OBJECT_CHILD;
                plan->address = call->arg == 0 && (int32_t) args[0] > 0 ? (uint32_t) args[0] : 0;
                return;
        case CLASS_CHILD_ID:
                plan_waitid(plan, args);
                return;
        case CLASS_SLEEP:
                plan->has_timeout = true;
                plan_none(plan, WAIT_SLEEP, "sleeps");
                return;
        case CLASS_FUTEX:
                plan->has_timeout = args[3] != 0;
                plan_none(plan, WAIT_UNKNOWN, "waits for one of its own threads, or for who shares its memory (futex)");
                return;
        case CLASS_SIGNAL:
                plan_none(plan, WAIT_UNKNOWN, "waits for a signal");
                return;
        case CLASS_OTHER:
                return;
        }
}

void waitkind_plan(const WaitFacts *facts, WaitPlan *ret) {
        WaitPlan plan = { .fd = -1, .dir_fd = AT_FDCWD };
        const Call *call = NULL;

        if (facts->call && !facts->call->running && facts->call->nr >= 0) {
                /* Addresses of a program of 32 bits end below 4 GiB, and its numbers are other calls'. */
                plan.other_abi = facts->call->sp != 0 && facts->call->sp <= UINT32_MAX;
                call = plan.other_abi ? NULL : call_find(facts->call->nr);
        }
        plan.syscall = call ? call->name : NULL;
        plan.waits_server = waits_server(facts);

        /* A stopped or frozen process shows the system call that it was in before. */
        if (facts->frozen) {
                plan_none(&plan, WAIT_FREEZER, "its cgroup is frozen");
                *ret = plan;
                return;
        }
        switch (facts->state) {
        case 'T':
                plan_none(&plan, WAIT_STOPPED, "stopped");
                break;
        case 't':
                plan_none(&plan, WAIT_STOPPED, "stopped by a debugger");
                break;
        case 'Z':
        case 'X':
                plan_none(&plan, WAIT_UNKNOWN, "has ended, and its parent has not collected it");
                break;
        case 'R':
                plan_none(&plan, WAIT_CPU, "computes");
                break;
        default:
                if (facts->call && facts->call->running)
                        plan_none(&plan, WAIT_CPU, "computes");
                else if (plan.other_abi)
                        plan_none(&plan, WAIT_UNKNOWN, "is a program of another architecture");
                else if (in_kernel(facts, "rtnl_lock") || in_kernel(facts, "rtnl_dumpit"))
                        plan_none(&plan, WAIT_LOCK, "waits for the kernel's network lock (rtnl)");
                else if (call)
                        plan_call(&plan, call, facts->call->args);
                break;
        }
        *ret = plan;
}

static bool begins(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

WaitKind waitkind_of_link(const WaitPlan *plan, const char *link, const char *wchan) {
        static const char *const fifo[] = { "pipe_", "anon_pipe_", "fifo_", "wait_for_partner" };

        if (begins(link, "pipe:["))
                return WAIT_FIFO;
        if (begins(link, "anon_inode:[timerfd]"))
                return WAIT_SLEEP;
        if (begins(link, "anon_inode:[pidfd]") || begins(link, "pidfd:["))
                return WAIT_CHILD;
        if (*link != '/')
                return WAIT_UNKNOWN;
        if (plan->use == WAIT_USE_LOCK || plan->use == WAIT_USE_LOCK_RECORD)
                return WAIT_LOCK;
        for (size_t i = 0; i < ARRAY_SIZE(fifo); i++)
                if (begins(wchan, fifo[i]))
                        return WAIT_FIFO;
        return plan->waits_server ? WAIT_MOUNT : WAIT_FILE;
}

bool waitkind_is_idle(const WaitPlan *plan) {
        return plan->object == WAIT_OBJECT_EPOLL ||
               (plan->kind == WAIT_UNKNOWN && plan->syscall && strcmp(plan->syscall, "futex") == 0);
}
