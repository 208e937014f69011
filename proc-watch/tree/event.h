#pragma once

/*
 * Process events
 *
 * What the kernel side (watch.bpf.c) tells about a tracked process, and the limits both sides share. This header is
 * compiled for BPF too, so it uses nothing but fixed-size integers. Times are CLOCK_MONOTONIC, in nanoseconds.
 */

#ifndef __bpf__
#include <stddef.h>
#include <stdint.h>
#endif

#define EVENT_COMM_SIZE 16   /* the kernel's TASK_COMM_LEN */
#define EVENT_FILE_MAX  256  /* of the program's file name, with NUL */
#define EVENT_ARGS_MAX  2048 /* of the command line; runc's has some 450 bytes, conmon's some 1500 */
#define EVENT_ENV_MAX   2048 /* of all named variables together */
#define EVENT_VAR_MAX   1024 /* of one of them */
#define EVENT_VARS_MAX  256  /* variables looked at */
#define EVENT_CWD_PARTS 24   /* of a working directory's path … */
#define EVENT_PART_MAX  256  /* … of this length, with NUL */
#define EVENT_CWD_MAX   1024 /* all of them together */
#define EVENT_DATA_MAX  (EVENT_FILE_MAX + EVENT_ARGS_MAX + EVENT_ENV_MAX + EVENT_CWD_MAX)

typedef enum EventType {
        EVENT_FORK = 1,
        EVENT_EXEC,
        EVENT_RENAME,
        EVENT_ATTACH, /* put into a cgroup */
        EVENT_EXIT,
        EVENT_WORK, /* time in one piece that the kernel can name; see EventWork */
} EventType;

/* What the time of an EVENT_WORK went to. */
typedef enum EventWork {
        EVENT_WORK_CREATE = 1, /* opening, creating and linking files, making directories */
        EVENT_WORK_RENAME,
        EVENT_WORK_REMOVE,
        EVENT_WORK_SYNC,
        EVENT_WORK_MOUNT,
        EVENT_WORK_UNMOUNT,
        EVENT_WORK_CGROUP,    /* writing to a file of a cgroup */
        EVENT_WORK_NAMESPACE, /* unshare(2), setns(2) */
        EVENT_WORK_FORK,
        EVENT_WORK_NETLINK, /* asking the kernel to change or tell of its network */
        EVENT_WAIT_CPU,     /* runnable, but another task runs */
        EVENT_WAIT_PEER,    /* asleep in a system call that reads: what another process is to say */
        EVENT_WAIT_KERNEL,  /* asleep in any other: a lock, a disk */
        EVENT_WORK_RUN,     /* on a CPU; of engines only */
        _EVENT_WORK_MAX,
} EventWork;

#define EVENT_WORK_MIN_NS  (100 * 1000ULL)  /* one piece of work told; of mounts and namespaces all are */
#define EVENT_WAIT_MIN_NS  (1000 * 1000ULL) /* one wait told */
#define EVENT_MOUNT_GAP_NS (50 * 1000ULL)   /* mounts made within this are one */
#define EVENT_RUN_MIN_NS   (200 * 1000ULL)  /* time on a CPU told, in one piece but for … */
#define EVENT_RUN_GAP_NS   (200 * 1000ULL)  /* … gaps of up to this */

#define EVENT_READER_NS       (50 * 1000 * 1000ULL) /* the reader looks again after what it has read, unwoken */
#define EVENT_READER_SLACK_NS (1000 * 1000ULL) /* what takes longer than this into the ring comes too late for it */

typedef enum EventFlags {
        EVENT_ENTRYPOINT = 1 << 0, /* exec: of a container's own command; nothing of it is copied */
        EVENT_ARGS_CUT = 1 << 1,   /* exec: the command line is longer */
        EVENT_OOM = 1 << 2,        /* exit: the OOM killer chose it */
        EVENT_CONTAINER = 1 << 3,  /* exit: of a container's own process; exec: such a one that runs already */
        EVENT_NAMED = 1 << 4,      /* exec: of a program known by name that is to be believed, see watch.bpf.c */
        EVENT_FOUND = 1 << 6,      /* exec: runs already */
        EVENT_CROWDED = 1 << 7,    /* exit: not all of what it forked was followed */
        EVENT_LET_GO = 1 << 8,     /* exit: it is only not followed any more */
        EVENT_INSIDE = 1 << 5,     /* exec: of a process that is not the host's own, see host.bpf.h */
} EventFlags;

/*
 * One event. After it come file_size bytes of file name (with NUL), args_size bytes of arguments (each with NUL, the
 * last one perhaps cut), env_size bytes of "NAME=value" (each with NUL), and cwd_size bytes of the working directory:
 * the names in its path, the last one first (each with NUL).
 */
typedef struct Event {
        uint64_t time_ns;
        uint64_t start_ns; /* when the process began (CLOCK_BOOTTIME): with the pid this names it for good */
        union {
                uint64_t parent_start_ns; /* when the parent began */
                uint64_t oom_ns; /* exit of a container's own process: the last OOM kill in its cgroup; 0: none */
        };
        union {
                uint64_t run_delay_ns; /* how long the task has waited for a CPU so far */
                uint64_t length_ns;    /* work: until time_ns */
                uint64_t age_ns;       /* exec of what runs already: since it began */
        };
        uint16_t type;   /* EventType */
        uint16_t flags;  /* EventFlags */
        uint32_t n_lost; /* events lost before this one since the kernel side was loaded; wraps */
        uint32_t pid;    /* process id (tgid), in the host's pid namespace */
        uint32_t parent; /* fork, found: the process that forked, whoever becomes the parent; work: the thread */
        int32_t status;  /* exit: as wait(2) has it; work: EventWork */
        uint32_t uid;    /* exec: on whose behalf, as the host has it; of a container found its monitor's */
        uint16_t file_size;
        uint16_t args_size;
        uint16_t env_size;
        uint16_t cwd_size;
        char comm[EVENT_COMM_SIZE]; /* fork, exec, exit: its name; rename: the new one */
} Event;

/* What the kernel side keeps per tracked process. */
typedef enum TrackFlags {
        TRACK_DAEMON = 1 << 0,     /* a container engine, shim or monitor, or descends from one */
        TRACK_CRUN = 1 << 1,       /* a runtime that shows no stages; its container's command is told by its mounts */
        TRACK_CRUN_CHILD = 1 << 2, /* forked by such a one, no exec yet */
        TRACK_INIT = 1 << 3,       /* "runc:[2:INIT]": the next exec is the container's command */
        TRACK_CONTAINER = 1 << 4,  /* is a container's own: only its exit counts */
        TRACK_OOM = 1 << 5,
        TRACK_CRUN_EXEC = 1 << 6, /* `crun exec` and all it forks: joins a container in two steps, runs no hooks */
        TRACK_CWD = 1 << 7,       /* where it runs is told, too */
        TRACK_RESIDENT = 1 << 8,  /* lives long: taken over where it runs already */
        TRACK_ENGINE = 1 << 9,    /* an engine itself: of its work only what a call can have caused is told */
        TRACK_USER = 1 << 10,     /* was on behalf of another user than root when it began to be followed */
        TRACK_CROWDED = 1 << 11,  /* not all of what it forked is followed */
} TrackFlags;

#define TRACK_MAX       16384 /* processes tracked at a time … */
#define TRACK_USERS_MAX 2048  /* … of them on behalf of other users than root, all together */
#define NAMES_MAX       32

typedef struct Track {
        uint32_t flags; /* TrackFlags */
        uint32_t mnt_ns;
        uint32_t child; /* of TRACK_CRUN_CHILD: what it has forked last */
} Track;

#define THREADS_MAX 1024 /* whose work is followed at a time; the least recent make room */

/* What the kernel side keeps per thread of a followed process. */
typedef struct Thread {
        uint64_t start_ns;
        uint64_t out_ns;       /* it lost its CPU; 0: what it did then is told */
        uint64_t delay_ns;     /* how long it had waited for a CPU by then */
        uint64_t mount_ns;     /* the last mount told */
        uint64_t inode_ns;     /* since when a file is being made; 0: none is */
        uint64_t run_ns;       /* of an engine: since when it has been on a CPU, but for short gaps, */
        uint64_t ran_ns;       /* for how long of it; 0: not */
        uint64_t ran_until_ns; /* until when */
        uint32_t turn;         /* the value of `follow` that this is about */
        uint32_t run_turn;     /* the value of `follow_engines` that this is about; 0: no engine's */
        uint32_t kind;         /* EventWork: what it went to sleep in; 0: any other call */
} Thread;

#define EVENT_CALLS_MAX 512 /* system calls are known by number below this */
