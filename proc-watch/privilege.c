#include <linux/bpf.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include "privilege.h"
#include "util.h"

/* clang-format off */
/* By name, as not every architecture has every call: those that it lacks are skipped. */
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

/* What resync tells the kernel side, and looks up. */
static const int bpf_commands[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM };

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
        for (size_t i = 0; i < ARRAY_SIZE(bpf_commands); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1,
                                     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) bpf_commands[i]));
                if (r < 0)
                        return r;
        }
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
}

int privilege_drop(bool kill) {
        scmp_filter_ctx filter;
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;

        filter = seccomp_init(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
        if (!filter)
                return -ENOMEM;
        r = fill(filter);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}
