#include <linux/bpf.h>
#include <sys/socket.h>
#include "privilege.h"
#include "sysfilter.h"
#include "util.h"

/* clang-format off */
static const char *const allowed[] = {
        /* memory, time, the end */
        "brk", "clock_gettime", "exit", "exit_group", "futex", "getpid", "getrandom", "gettid", "gettimeofday",
        "madvise", "mmap", "mremap", "munmap", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask",
        "rt_sigreturn", "tgkill",
        /* /proc, bundles, context files, spool, counters */
        "access", "close", "dup", "faccessat", "faccessat2", "fchmod", "fchown", "fcntl", "fstat", "fstatfs",
        "ftruncate", "getdents64", "lseek", "lstat", "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64",
        "pwrite64", "read", "readlink", "readlinkat", "renameat", "renameat2", "stat", "statfs", "statx", "umask",
        "unlinkat", "write", "writev",
        /* waiting, and a word to the service manager */
        "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "poll", "ppoll", "sendto", "timerfd_settime",
};
/* clang-format on */

static const SysfilterArg args[] = {
        /* What resync tells the kernel side, and looks up. */
        SYSFILTER_ARG_IS("bpf", 0, BPF_MAP_UPDATE_ELEM),
        SYSFILTER_ARG_IS("bpf", 0, BPF_MAP_LOOKUP_ELEM),
        SYSFILTER_ARG_IS("socket", 0, AF_UNIX),
};

int privilege_drop(bool kill) {
        const Sysfilter filter = {
                .calls = allowed,
                .n_calls = ARRAY_SIZE(allowed),
                .args = args,
                .n_args = ARRAY_SIZE(args),
        };

        return sysfilter_load(&filter, kill);
}
