#include <sys/socket.h>
#include "seccompf.h"
#include "sysfilter.h"
#include "util.h"

/* clang-format off */
static const char *const allowed[] = {
        /* memory, time; no threads, and no process but through the spawner */
        "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "exit",
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
        /* the service manager; podspan-export, by way of the spawner */
        "connect", "getpeername", "getsockname", "getsockopt", "ioctl", "memfd_create", "pidfd_send_signal", "recvfrom",
        "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "waitid"
};
/* clang-format on */

static const SysfilterArg sockets[] = {
        SYSFILTER_ARG_IS("socket", 0, AF_UNIX),
        SYSFILTER_ARG_IS("socketpair", 0, AF_UNIX),
};

int seccompf_load(bool kill) {
        const Sysfilter filter = {
                .calls = allowed,
                .n_calls = ARRAY_SIZE(allowed),
                .args = sockets,
                .n_args = ARRAY_SIZE(sockets),
        };

        return sysfilter_load(&filter, kill);
}
