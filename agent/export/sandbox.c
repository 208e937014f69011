#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "sandbox.h"
#include "sysfilter.h"
#include "util.h"

/* clang-format off */
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
        "getuid", "getrlimit", "sysinfo", "uname", "getcwd",
        /* files: the resolver's configuration, the system's certificates */
        "access", "close", "close_range", "dup", "dup3", "faccessat", "faccessat2", "fcntl", "fstat", "fstatfs",
        "getdents64", "lseek", "lstat", "newfstatat", "pread64", "preadv", "read", "readahead", "readlink",
        "readlinkat", "readv", "stat", "statfs", "statx", "write", "writev",
        /* waiting */
        "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe2", "poll",
        "ppoll", "pselect6", "select", "timerfd_create", "timerfd_gettime", "timerfd_settime",
        /* the collector, its resolver */
        "bind", "connect", "getpeername", "getsockname", "getsockopt", "ioctl", "recvfrom", "recvmmsg", "recvmsg",
        "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown"
};
/* clang-format on */

#define WRITING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)

/* bind: resolvers bind their UDP sockets. Netlink: getaddrinfo() asks which addresses there are. */
static const SysfilterArg arguments[] = {
        SYSFILTER_ARG_IS("socket", 0, AF_UNIX),      SYSFILTER_ARG_IS("socket", 0, AF_INET),
        SYSFILTER_ARG_IS("socket", 0, AF_INET6),     SYSFILTER_ARG_IS("socket", 0, AF_NETLINK),
        SYSFILTER_ARG_IS("socketpair", 0, AF_UNIX),  SYSFILTER_ARG_WITHOUT("open", 1, WRITING),
        SYSFILTER_ARG_WITHOUT("openat", 2, WRITING), /* a limit can be asked for, of ourselves, and not set */
        SYSFILTER_ARG_IS("prlimit64", 2, 0),
};

/* Where the system's libraries, resolver and certificates are; what is missing is skipped. */
static const char *const readable[] = {
        "/etc",
        "/usr",
        "/lib",
        "/lib32",
        "/lib64",
        "/nix/store",
        "/run/systemd/resolve",
        "/run/resolvconf",
        "/run/NetworkManager",
        "/run/nscd",
        "/sys/devices/system/cpu",
        /* links to elsewhere; followed */
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/ssl/certs/ca-certificates.crt",
};

/* Of the first version: what newer ones add is writing, which the filter ends as well. */
#define FS_ALL  ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

static int allow_reading(int ruleset_fd, const char *path) {
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
        struct landlock_path_beneath_attr rule = { .parent_fd = fd, .allowed_access = FS_READ };
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return 0;
        if (!S_ISDIR(st.st_mode))
                rule.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
        return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int close_files(void) {
        const struct landlock_ruleset_attr attr = { .handled_access_fs = FS_ALL };
        const char *roots = getenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
        _cleanup_close_ int fd = -EBADF;
        int r = 0;

        fd = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        if (fd < 0)
                return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -errno;

        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(readable); i++)
                r = allow_reading(fd, readable[i]);
        if (r == 0 && roots)
                r = allow_reading(fd, roots);
        if (r < 0)
                return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}

int sandbox_load(bool kill) {
        const Sysfilter filter = {
                .calls = allowed,
                .n_calls = ARRAY_SIZE(allowed),
                .args = arguments,
                .n_args = ARRAY_SIZE(arguments),
        };
        int r;

        r = close_files();
        return r < 0 ? r : sysfilter_load(&filter, kill);
}
