#pragma once

/*
 * Files of /proc/PID
 *
 * Parsers for what the kernel says about one process: stat, status, syscall, fdinfo, mountinfo, the tables of locks and
 * sockets. The kernel writes these files, but a process chooses names and paths in them, so each parser takes any
 * bytes. No I/O. Strings in results are not NUL-terminated where a length stands beside them: they point into the
 * input.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCFILE_SMALL_MAX (16U * 1024)       /* bytes of stat, status, syscall, stack, fdinfo that are read */
#define PROCFILE_TABLE_MAX (4U * 1024 * 1024) /* bytes of mountinfo, locks, net/tcp … that are read */
#define PROCFILE_COMM_MAX  63                 /* characters of a process's name; kernel threads have long ones */
#define PROCFILE_PATH_MAX  4095               /* characters of a mount point */
#define PROCFILE_KTHREAD   0x00200000U        /* PF_KTHREAD of ProcfileStat.flags */

typedef struct ProcfileStat {
        pid_t pid;
        pid_t ppid;
        char state; /* R S D T t Z X I */
        char comm[PROCFILE_COMM_MAX + 1];
        uint32_t flags;
        uint32_t n_threads;
        uint64_t start_ticks; /* since boot, in clock ticks */
        uint64_t cpu_ticks;   /* user and system time */
} ProcfileStat;

/* /proc/PID/stat. Returns 0 or -EBADMSG. */
int procfile_stat(const char *s, size_t n, ProcfileStat *ret);

typedef struct ProcfileStatus {
        pid_t tgid;
        pid_t tracer;
        uint32_t uids[4];
        unsigned n_pid_namespaces; /* 1: in the pid namespace of the /proc that is read; 0: not known */
        uint64_t pending;          /* signals that wait, of the thread or the process; bit 0 is signal 1 */
        uint64_t blocked;
        uint64_t ignored;
        uint64_t caught;
} ProcfileStatus;

/* /proc/PID/status. Returns 0, or -EBADMSG without the user ids. */
int procfile_status(const char *s, size_t n, ProcfileStatus *ret);

typedef struct ProcfileSyscall {
        bool running; /* on a CPU: there are no numbers */
        int64_t nr;   /* -1: in the kernel, but not in a system call */
        uint64_t args[6];
        uint64_t sp;
        uint64_t pc;
} ProcfileSyscall;

/* /proc/PID/syscall. Returns 0 or -EBADMSG. */
int procfile_syscall(const char *s, size_t n, ProcfileSyscall *ret);

typedef struct ProcfileFdinfo {
        uint64_t pos;
        uint64_t ino;   /* 0: this kernel does not say */
        uint32_t flags; /* as open(2) */
        int mnt_id;     /* -1: not known */
        bool has_flock; /* it holds a lock of flock(2), or an OFD lock, */
        bool has_posix; /* or its process a record lock of fcntl(2); */
        unsigned lock_major, lock_minor;
        uint64_t lock_ino; /* on this file; of several the last one's */
        int fuse;  /* of /dev/fuse: the number of its connection, the minor of the mount's device; -1: not known */
        pid_t pid; /* of a pidfd; 0: not known */
} ProcfileFdinfo;

/* /proc/PID/fdinfo/N. Returns 0, or -EBADMSG without flags. */
int procfile_fdinfo(const char *s, size_t n, ProcfileFdinfo *ret);

/* The next descriptor that an epoll descriptor's fdinfo names ("tfd:"). Returns 1, or 0 at the end. */
int procfile_tfd_next(const char **s, size_t *n, int *ret_fd);

/* Socket, pipe or another object by the target of /proc/PID/fd/N: "socket:[N]". 0: it is a path or another object. */
uint64_t procfile_link_inode(const char *link, const char *kind);

typedef struct ProcfileMount {
        int id;
        unsigned major, minor;
        char point[PROCFILE_PATH_MAX + 1]; /* escapes resolved; "" where longer */
        char type[32];
        char source[128];
} ProcfileMount;

/* The next line of mountinfo. Lines of another form are skipped. Returns 1, or 0 at the end. */
int procfile_mount_next(const char **s, size_t *n, ProcfileMount *ret);

/* The mount that the absolute @path is on: the longest mount point, of equal ones the last. Returns 0 or -ENOENT. */
int procfile_mount_of(const char *s, size_t n, const char *path, ProcfileMount *ret);
int procfile_mount_by_id(const char *s, size_t n, int id, ProcfileMount *ret);

typedef struct ProcfileLock {
        uint64_t id;
        bool waits; /* for the lock of this id */
        bool flock; /* of flock(2); else of fcntl(2) */
        pid_t pid;  /* flock: who took it, maybe long gone; -1: an OFD lock; 0: of another pid namespace */
        unsigned major, minor;
        uint64_t ino;
} ProcfileLock;

/* The next line of /proc/locks. Lines of another form are skipped. Returns 1, or 0 at the end. */
int procfile_lock_next(const char **s, size_t *n, ProcfileLock *ret);

#define PROCFILE_ADDRESS_MAX 64

typedef struct ProcfileInet {
        char local[PROCFILE_ADDRESS_MAX]; /* "127.0.0.1:80", "[::1]:80" */
        char remote[PROCFILE_ADDRESS_MAX];
        unsigned state; /* 1 established, 2 SYN sent, 10 listening … */
        uint64_t ino;
        uint64_t tx, rx; /* bytes queued */
} ProcfileInet;

/* The next socket of /proc/PID/net/tcp, tcp6, udp or udp6. Returns 1, or 0 at the end. */
int procfile_inet_next(const char **s, size_t *n, ProcfileInet *ret);

/* The protocol of the netlink socket @ino in /proc/PID/net/netlink; -ENOENT. */
int procfile_netlink(const char *s, size_t n, uint64_t ino);

/* "route" for NETLINK_ROUTE …; NULL: not known. */
const char *procfile_netlink_name(int protocol);

typedef struct ProcfileCgroup {
        char pod_uid[37];      /* with dashes, whatever the driver writes; a static pod's has 32 digits; "": none */
        char container_id[65]; /* "": none */
        bool in_pod;           /* in a pod or a container, or in kubelet's folder for them */
        bool is_monitor;       /* CRI-O's own folder for its monitor, "crio-conmon-ID", is the innermost */
} ProcfileCgroup;

/*
 * Whose process it is by the text of /proc/PID/cgroup: the outermost folder of a pod, the first folder of a container
 * below that, or anywhere if there is no pod. A container may make folders of any name below its own, so the first
 * counts. @base is PID 1's text: what lies above the node itself does not count.
 */
void procfile_cgroup(const char *s, size_t n, const char *base, size_t base_n, ProcfileCgroup *ret);
