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
        EVENT_WORK,   /* time in one piece that the kernel can name; see EventWork */
        EVENT_VICTIM, /* the OOM killer has chosen a process of a container; see EventVictim */
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

#define EVENT_GROUP_MAX 96 /* of a cgroup's name, with NUL: a container's id with what engines put around it */

/* Where a signal to a container's own process came from. */
typedef enum EventSender {
        EVENT_SENDER_NONE, /* there was no signal */
        EVENT_SENDER_SELF,
        EVENT_SENDER_CONTAINER, /* a process that is not the host's own, see host.bpf.h */
        EVENT_SENDER_HOST,
        EVENT_SENDER_KERNEL,    /* a fault, a timer, the OOM killer */
        EVENT_SENDER_PARENT,    /* the parent died, and its death was to be signalled */
        EVENT_SENDER_NAMESPACE, /* the first process of the pid namespace has ended */
        _EVENT_SENDER_MAX,
} EventSender;

/* One signal to a container's own process, with its sender. Of the kernel's no process is named. */
typedef struct EventSignal {
        uint64_t time_ns;
        uint64_t first_start_ns; /* of the sender's container: its first process; 0: not known */
        uint32_t first_pid;
        uint32_t pid; /* the sender */
        uint32_t uid;
        uint8_t signal;              /* 0: there was none */
        uint8_t sender;              /* EventSender */
        uint8_t ignored;             /* it did nothing: the process ignores it */
        uint8_t known;               /* the sender is followed: a runtime, an engine … */
        char comm[EVENT_COMM_SIZE];  /* the sender's program */
        char group[EVENT_GROUP_MAX]; /* the cgroup of the sender's container; "": not known */
} EventSignal;

typedef enum EventMemory {
        EVENT_MEMORY_LOW,
        EVENT_MEMORY_HIGH,
        EVENT_MEMORY_LIMIT,
        EVENT_MEMORY_OOM,
        EVENT_MEMORY_KILL,
        EVENT_MEMORY_GROUP_KILL,
        _EVENT_MEMORY_MAX,
} EventMemory;

typedef enum EventDeathFlags {
        EVENT_DEATH_SIGNALS = 1 << 0, /* the kernel side sees signals */
        EVENT_DEATH_VICTIMS = 1 << 1, /* … and whose limit the OOM killer enforces */
} EventDeathFlags;

/*
 * How a container's own process died. It comes after the exit event. Counts are negative where they are not known.
 */
typedef struct EventDeath {
        EventSignal fatal;                 /* ended the process, by the kernel's own account */
        EventSignal core;                  /* ends it with a core dump, unless the process blocks the signal */
        EventSignal asked;                 /* the last signal of the host's own that did not end it */
        uint32_t ignored;                  /* the last fatal-looking signal that was ignored; 0: none */
        uint32_t flags;                    /* EventDeathFlags */
        int64_t memory[_EVENT_MEMORY_MAX]; /* how often, of the container's cgroup */
        int64_t periods, throttled_periods, throttled_ns;
        uint32_t parent; /* the process that waits for it */
        uint32_t pad;
        char parent_comm[EVENT_COMM_SIZE];
} EventDeath;

#define EVENT_LEVEL_NONE    (-1)
#define EVENT_LEVEL_UNKNOWN (-2)

/*
 * A process of a container that the OOM killer has chosen. The event is the victim's. Levels are those of the victim's
 * cgroup (0) and the cgroups that it is in.
 */
typedef struct EventVictim {
        uint64_t first_start_ns; /* of the container's first process; 0: not known */
        uint32_t first_pid;
        uint32_t pad;
        int64_t rss_pages;       /* about; negative: not known */
        uint64_t limit_pages;    /* 0: not known */
        int32_t container_level; /* the container's own cgroup, or EVENT_LEVEL_NONE */
        int32_t limit_level;     /* the limit's; EVENT_LEVEL_NONE: it was not a limit, the node's memory was used up */
        char group[EVENT_GROUP_MAX]; /* the name of the limit's cgroup */
} EventVictim;

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
