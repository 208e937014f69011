#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "confine.h"
#include "sysfilter.h"
#include "util.h"

#define GROUPS_MAX 64 /* with more, it joins none */

/* clang-format off */
static const char *const allowed[] = {
        /* memory, time, the end; what glibc asks for itself */
        "brk", "clock_gettime", "clock_gettime64", "exit", "exit_group", "futex", "futex_time64", "getpid", "getrandom",
        "gettid", "gettimeofday", "madvise", "mremap", "munmap", "restart_syscall", "rseq", "rt_sigaction",
        "rt_sigprocmask", "rt_sigreturn", "sched_yield", "sigaltstack", "tgkill", "time",
        /* who we are and how much we may */
        "getegid", "geteuid", "getgid", "getuid", "getrlimit", "prlimit64", "ugetrlimit",
        /* context files, spool, counters, start files, configuration, our socket */
        "access", "close", "dup", "dup3", "faccessat", "faccessat2", "fallocate", "fchmod", "fchmodat", "fcntl",
        "fcntl64", "flock", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "ftruncate", "ftruncate64",
        "getdents64", "linkat", "lseek", "_llseek", "lstat", "lstat64", "mkdir", "mkdirat", "newfstatat", "open",
        "openat", "openat2", "pread64", "pwrite64", "read", "readlink", "readlinkat", "readv", "rename", "renameat",
        "renameat2", "stat", "stat64", "statfs", "statx", "symlinkat", "umask", "unlink", "unlinkat", "utimensat",
        "write", "writev",
        /* waiting */
        "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pidfd_open", "poll",
        "ppoll", "ppoll_time64", "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
        "timerfd_settime64",
        /* both ends, the service manager, the podspan-cri before and after this one */
        "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "memfd_create", "recvfrom",
        "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
};
/* clang-format on */

static const SysfilterArg args[] = {
        SYSFILTER_ARG_IS("socket", 0, AF_UNIX),
        SYSFILTER_ARG_IS("socketpair", 0, AF_UNIX),
        /* No code comes to be while it runs. */
        SYSFILTER_ARG_WITHOUT("mmap", 2, PROT_EXEC),
        SYSFILTER_ARG_WITHOUT("mmap2", 2, PROT_EXEC),
        SYSFILTER_ARG_WITHOUT("mprotect", 2, PROT_EXEC),
};

/* Without capabilities even uid 0 needs to be in the group to read what podspand's user has made. */
static void join_group(int state_fd) {
        gid_t groups[GROUPS_MAX + 1];
        struct stat st;
        int n;

        if (state_fd < 0 || fstat(state_fd, &st) < 0 || st.st_gid == getegid())
                return;
        n = getgroups(GROUPS_MAX, groups);
        if (n < 0)
                return;
        for (int i = 0; i < n; i++)
                if (groups[i] == st.st_gid)
                        return;
        groups[n] = st.st_gid;
        (void) setgroups((size_t) n + 1, groups);
}

static int drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {}, left[_LINUX_CAPABILITY_U32S_3];

        /*
         * The kernel may know more than this header. What fails with EPERM was taken from us before, or is not allowed
         * by the unit's filter: what counts is that nothing is left.
         */
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
                        return -errno;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
                return -errno;
        if (syscall(SYS_capset, &header, none) < 0 && errno != EPERM)
                return -errno;
        if (syscall(SYS_capget, &header, left) < 0)
                return -errno;
        for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
                if (left[i].effective | left[i].permitted | left[i].inheritable)
                        return -EPERM;
        return 0;
}

int confine(int state_fd, bool kill) {
        const Sysfilter filter = {
                .calls = allowed,
                .n_calls = ARRAY_SIZE(allowed),
                .args = args,
                .n_args = ARRAY_SIZE(args),
        };
        int r;

        join_group(state_fd);
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        r = drop_capabilities();
        if (r < 0)
                return r;
        return sysfilter_load(&filter, kill);
}
