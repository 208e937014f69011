#include <errno.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include "seccompf.h"
#include "util.h"

/* clang-format off */
/* By name, as not every architecture has every call: those that it lacks are skipped. */
static const char *const allowed[] = {
        /* memory, threads, time */
        "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "clone", "clone3", "exit",
        "exit_group", "futex", "get_robust_list", "getcpu", "getrandom", "gettimeofday", "madvise", "mbind",
        "membarrier", "mmap", "mprotect", "mremap", "munmap", "nanosleep", "prctl", "restart_syscall", "rseq",
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait",
        "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getparam",
        "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack", "time", "tgkill",
        /* who and where we are */
        "getegid", "geteuid", "getgid", "getpid", "getppid", "getresgid", "getresuid", "getrusage", "gettid",
        "getuid", "prlimit64", "getrlimit", "sysinfo", "uname", "getcwd",
        /* files: spool, store, counters, configuration, certificates */
        "access", "chmod", "close", "close_range", "dup", "dup3", "faccessat", "faccessat2", "fallocate", "fchmod",
        "fchown", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getdents64", "linkat",
        "lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open", "openat", "pread64", "preadv", "pwrite64",
        "pwritev", "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir",
        "stat", "statfs", "statx", "umask", "unlink", "unlinkat", "write", "writev",
        /* waiting */
        "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "inotify_add_watch",
        "inotify_init1", "inotify_rm_watch", "pipe2", "poll", "ppoll", "pselect6", "select", "signalfd4",
        "timerfd_create", "timerfd_gettime", "timerfd_settime",
        /* the collector, its resolver, the service manager */
        "bind", "connect", "getpeername", "getsockname", "getsockopt", "ioctl", "recvfrom", "recvmmsg", "recvmsg",
        "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown"
};
/* clang-format on */

/* bind: resolvers bind their UDP sockets. Netlink: getaddrinfo() asks which addresses there are. */
static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

static int fill(scmp_filter_ctx filter) {
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
                int call = seccomp_syscall_resolve_name(allowed[i]);

                if (call == __NR_SCMP_ERROR)
                        continue;
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i]));
                if (r < 0)
                        return r;
        }

        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
}

int seccompf_load(bool kill) {
        scmp_filter_ctx filter;
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;

        filter = seccomp_init(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
        if (!filter)
                return -ENOMEM;

        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r == 0)
                r = fill(filter);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}
