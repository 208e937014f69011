#include <assert.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "privilege.h"
#include "sysfilter.h"
#include "util.h"

/* Later than the oldest headers that this builds with. */
#define FS_TRUNCATE          (UINT64_C(1) << 14) /* ABI 3 */
#define FS_IOCTL_DEV         (UINT64_C(1) << 15) /* ABI 5 */
#define NET_BIND_AND_CONNECT UINT64_C(3)         /* ABI 4 */
#define SCOPE_SIGNAL         (UINT64_C(1) << 1)  /* ABI 6; abstract sockets stay in reach, for the service manager's */
#define FS_ALL(abi)                                                      \
        ((abi) < 2   ? FS_FIRST                                          \
         : (abi) < 3 ? FS_FIRST | LANDLOCK_ACCESS_FS_REFER               \
         : (abi) < 5 ? FS_FIRST | LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE \
                     : FS_FIRST | LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_FIRST (LANDLOCK_ACCESS_FS_REFER - 1)
#define FS_READ  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                     \
        (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | \
         LANDLOCK_ACCESS_FS_REMOVE_FILE | FS_TRUNCATE)

/* struct landlock_ruleset_attr of ABI 6; an older kernel takes it as long as what it does not know is 0. */
typedef struct RulesetAttr {
        uint64_t handled_access_fs, handled_access_net, scoped;
} RulesetAttr;

/* With CAP_BPF, which before 5.19 is needed for any bpf(), the filter below still allows nothing but an iterator. */
static const unsigned kept_capabilities[] = { CAP_BPF, CAP_DAC_READ_SEARCH };
static const unsigned opener_capabilities[] = { CAP_DAC_READ_SEARCH };

/* clang-format off */
static const char *const allowed[] = {
        /* memory, time, the end */
        "brk", "clock_gettime", "exit", "exit_group", "futex", "getpid", "getrandom", "gettid", "gettimeofday",
        "madvise", "mmap", "mremap", "munmap", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask",
        "rt_sigreturn", "tgkill",
        /* /proc, bundles, configuration, context files, spool, counters */
        "access", "close", "dup", "faccessat", "faccessat2", "fchmod", "fchown", "fcntl", "fstat", "fstatfs",
        "ftruncate", "getdents64", "lseek", "lstat", "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64",
        "pwrite64", "read", "readlink", "readlinkat", "renameat", "renameat2", "stat", "statfs", "statx", "umask",
        "unlinkat", "write", "writev",
        /* waiting, and a word to the service manager */
        "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "poll", "ppoll", "sendto", "timerfd_settime",
        /* what the opener answers, and its end */
        "recvmsg", "waitid",
};

static const char *const opener_allowed[] = {
        "brk", "close", "exit", "exit_group", "fcntl", "fstat", "fstatfs", "futex", "getdents64", "getpid", "getrandom",
        "gettid", "lseek", "madvise", "mmap", "mremap", "munmap", "newfstatat", "open", "openat", "openat2", "pread64",
        "read", "readlink", "readlinkat", "recvfrom", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask",
        "rt_sigreturn", "sendmsg", "statx", "tgkill",
};
/* clang-format on */

static const SysfilterArg args[] = {
        /* To look through the processes again, and to attach a loaded probe. */
        SYSFILTER_ARG_IS("bpf", 0, BPF_ITER_CREATE),
        SYSFILTER_ARG_IS("bpf", 0, BPF_RAW_TRACEPOINT_OPEN),
        SYSFILTER_ARG_IS("socket", 0, AF_UNIX),
};

static int allow(int ruleset_fd, int fd, uint64_t access) {
        const struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

        return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/* Opens @path, or what is there of it: an engine makes its folders later than we start. "/" only if that is meant. */
static int open_existing(const char *path) {
        char shorter[256], *slash;
        int fd;

        if (strlen(path) >= sizeof(shorter))
                return -ENAMETOOLONG;
        (void) snprintf(shorter, sizeof(shorter), "%s", path);
        for (;;) {
                fd = open(shorter, O_PATH | O_CLOEXEC);
                if (fd >= 0 || errno != ENOENT)
                        return fd < 0 ? -errno : fd;
                slash = strrchr(shorter, '/');
                if (!slash || slash == shorter)
                        return -ENOENT;
                *slash = '\0';
        }
}

static int confine(const PrivilegePaths *paths) {
        RulesetAttr attr = {};
        _cleanup_close_ int ruleset_fd = -EBADF;
        long abi;
        int r;

        abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < 0)
                return errno == ENOSYS || errno == EOPNOTSUPP ? PRIVILEGE_NO_LANDLOCK : -errno;
        attr.handled_access_fs = FS_ALL(abi);
        attr.handled_access_net = abi >= 4 ? NET_BIND_AND_CONNECT : 0;
        attr.scoped = abi >= 6 ? SCOPE_SIGNAL : 0;
        ruleset_fd = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        if (ruleset_fd < 0)
                return -errno;

        for (size_t i = 0; i < paths->n_readable; i++) {
                _cleanup_close_ int fd = open_existing(paths->readable[i]);

                if (fd < 0)
                        continue; /* then there is nothing to be read */
                r = allow(ruleset_fd, fd, FS_READ);
                if (r < 0)
                        return r;
        }
        r = paths->state_fd >= 0 ? allow(ruleset_fd, paths->state_fd, (FS_READ | FS_WRITE) & attr.handled_access_fs)
                                 : 0;
        if (r < 0)
                return r;
        return syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0 ? -errno : PRIVILEGE_DROPPED;
}

static int drop_capabilities(const unsigned *capabilities, size_t n) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {}, kept[_LINUX_CAPABILITY_U32S_3] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (size_t i = 0; i < n; i++) {
                unsigned word = capabilities[i] / 32;

                kept[word].permitted |= data[word].permitted & UINT32_C(1) << capabilities[i] % 32;
                kept[word].effective = kept[word].permitted;
        }
        return syscall(SYS_capset, &header, kept) < 0 ? -errno : 0;
}

static int filter_calls(bool kill) {
        const Sysfilter filter = {
                .calls = allowed,
                .n_calls = ARRAY_SIZE(allowed),
                .args = args,
                .n_args = ARRAY_SIZE(args),
        };

        return sysfilter_load(&filter, kill);
}

int privilege_drop(const PrivilegePaths *paths, bool kill) {
        int outcome, r;

        assert(paths);

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        outcome = confine(paths);
        if (outcome < 0)
                return outcome;
        r = drop_capabilities(kept_capabilities, ARRAY_SIZE(kept_capabilities));
        if (r == 0)
                r = filter_calls(kill);
        return r < 0 ? r : outcome;
}

int privilege_drop_opener(bool kill) {
        static const char *const readable[] = { "/" };
        const PrivilegePaths paths = { .readable = readable, .n_readable = ARRAY_SIZE(readable), .state_fd = -EBADF };
        const Sysfilter filter = { .calls = opener_allowed, .n_calls = ARRAY_SIZE(opener_allowed) };
        int outcome, r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        outcome = confine(&paths);
        if (outcome < 0)
                return outcome;
        r = drop_capabilities(opener_capabilities, ARRAY_SIZE(opener_capabilities));
        if (r == 0)
                r = sysfilter_load(&filter, kill);
        return r < 0 ? r : outcome;
}
