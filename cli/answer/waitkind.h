#pragma once

/*
 * Kinds of waits
 *
 * What a process waits for, from what /proc says about it: the system call and its arguments, the kernel function it
 * sleeps in, its state. A table of system calls decides; wchan and stack are evidence, since their names differ between
 * kernels. No I/O: the caller reads what WaitPlan asks for.
 *
 * System calls are those of the architecture that podspan was built for. A process of another one (32-bit on a 64-bit
 * kernel) is WAIT_UNKNOWN.
 */

#include "procfile.h"

#define WAIT_TEXT_MAX 512
#define WAIT_NAME_MAX 255

/* A closed set. */
typedef enum WaitKind {
        WAIT_UNKNOWN,
        WAIT_CPU,     /* it computes, or waits for a CPU */
        WAIT_FILE,    /* a file, a device, a path */
        WAIT_LOCK,    /* flock(2), fcntl(2), or one of the kernel's own */
        WAIT_FIFO,    /* a FIFO or a pipe */
        WAIT_UNIX,    /* a Unix socket */
        WAIT_TCP,     /* a TCP socket */
        WAIT_NETLINK, /* the kernel's answer on a netlink socket */
        WAIT_MOUNT,   /* the server of a file system: FUSE, NFS … */
        WAIT_FREEZER, /* its cgroup is frozen */
        WAIT_STOPPED, /* SIGSTOP, or a debugger */
        WAIT_CHILD,   /* the end of a child */
        WAIT_SLEEP,   /* a timer */
        _WAIT_KIND_MAX,
} WaitKind;

const char *waitkind_name(WaitKind kind);

/* What the caller has to read before the wait can be named. */
typedef enum WaitObject {
        WAIT_OBJECT_NONE,
        WAIT_OBJECT_FD,      /* what descriptor @fd is */
        WAIT_OBJECT_EPOLL,   /* the descriptors that the epoll descriptor @fd watches */
        WAIT_OBJECT_POLL,    /* @length struct pollfd at @address */
        WAIT_OBJECT_SELECT,  /* descriptors below @length: sets of bits at @address (read) and @address2 (write) */
        WAIT_OBJECT_PATH,    /* the string at @address, relative to descriptor @dir_fd */
        WAIT_OBJECT_CONNECT, /* the socket @fd and @length bytes of address at @address */
        WAIT_OBJECT_CHILD,   /* its children; @address: the one it waits for, 0: any */
} WaitObject;

typedef enum WaitUse {
        WAIT_USE_OTHER,
        WAIT_USE_READ,
        WAIT_USE_WRITE,
        WAIT_USE_BOTH,
        WAIT_USE_ACCEPT,
        WAIT_USE_OPEN,
        WAIT_USE_LOCK,        /* flock(2) or an OFD lock */
        WAIT_USE_LOCK_RECORD, /* fcntl(2) */
} WaitUse;

typedef struct WaitFacts {
        char state;
        const ProcfileSyscall *call; /* NULL: not known */
        const char *wchan;           /* "": not known */
        const char *stack;           /* likewise; needs CAP_SYS_ADMIN */
        bool frozen;                 /* its cgroup is */
} WaitFacts;

typedef struct WaitPlan {
        WaitKind kind; /* WAIT_UNKNOWN: the object decides */
        WaitObject object;
        WaitUse use;
        const char *syscall; /* its name, NULL: not known, or none */
        int fd;
        int dir_fd; /* AT_FDCWD: the working folder */
        uint64_t address, address2, length;
        bool has_timeout;   /* the call ends by itself */
        bool other_abi;     /* a program of another architecture */
        bool waits_server;  /* the kernel waits for a file system's server */
        const char *phrase; /* of a wait that has no object: "a timer" */
} WaitPlan;

void waitkind_plan(const WaitFacts *facts, WaitPlan *ret);

/*
 * What the descriptor with the target @link (of /proc/PID/fd/N) makes of a wait: WAIT_FIFO, WAIT_FILE, WAIT_MOUNT …
 * WAIT_UNKNOWN for a socket, whose tables the caller asks, and for what has no kind. @wchan tells a named FIFO.
 */
WaitKind waitkind_of_link(const WaitPlan *plan, const char *link, const char *wchan);

/* Is a lone thread in this wait of no interest, since a program with several always has some (futex, epoll)? */
bool waitkind_is_idle(const WaitPlan *plan);
