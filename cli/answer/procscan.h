#pragma once

/*
 * One look at all processes
 *
 * Reads of each process what cannot block: stat, status, cgroup, the target of exe. Then a child (aside.h) reads the
 * command lines, CNI's variables, and whose file each program is. From all of it follows which processes are the
 * node's own: engine, shims, monitors, runtimes, CNI plugins, hooks.
 *
 * A process is trusted if its four user ids are 0, it is in the pid namespace of /proc, and its cgroup is neither a
 * pod's nor a container's. A runtime's children are trusted wherever their cgroup is, since hooks run in the
 * container's; and what CRI-O starts in its folder for a monitor. What a process calls itself decides nothing: its kind
 * is that of the file it executes, which must be root's, and only root may write it.
 */

#include <stdbool.h>
#include "aside.h"
#include "podof.h"
#include "procfile.h"

#define PROCSCAN_MAX       32768 /* processes */
#define PROCSCAN_EXE_MAX   255   /* characters of a program's path that are kept, its end */
#define PROCSCAN_DEPTH     64    /* generations that are looked at */
#define PROCSCAN_ASIDE_MAX 4096  /* processes whose command line is read */

typedef struct Proc {
        ProcfileStat stat;
        ProcfileCgroup cgroup;
        char exe[PROCSCAN_EXE_MAX + 1]; /* "": not known */
        uint32_t uid;                   /* 0 only if all four are; else one that is not */
        bool known;                     /* status could be read */
        bool host_pid;                  /* in the pid namespace of /proc */
        bool trusted;
        bool below_runtime; /* a runtime started it, or one of its ancestors: a hook, or the container's first process
                             */
        bool judged;
        bool is_copy; /* it executes a copy in memory, as runtimes make of themselves: that says nothing about its owner
                       */
        bool silent;  /* the child that read its command line did not answer */
        PodofKind kind;
        Podof *podof; /* NULL: nothing is known; owned */
        int parent;   /* index, -1: none */
} Proc;

typedef struct Procs {
        Proc *procs; /* by pid */
        size_t n, n_allocated;
        bool more;       /* than PROCSCAN_MAX */
        bool incomplete; /* not all command lines could be read */
        uint64_t ticks_per_s;
        uint64_t now_ticks; /* since boot */
        char *base;         /* PID 1's cgroup */
        size_t base_n;
} Procs;

#define PROCS_NULL \
        {}

/* Looks. Returns 0 or a negative errno. */
int procscan_run(Asides *asides, Procs *ret);
void procscan_deinit(Procs *procs);

/* The process @pid; NULL: it was not there. */
const Proc *procscan_find(const Procs *procs, pid_t pid);

/* How long it has been there. */
uint64_t procscan_age_ns(const Procs *procs, const Proc *proc);

/* The name people know it by: its program's file name, else its process name. Not safe for a terminal. */
const char *procscan_name(const Proc *proc);

/* Is @proc still the process that was seen? Reads its start time again. */
bool procscan_same(const Proc *proc);

/* Reads /proc/PID/@name, at most @max bytes, with a NUL after them. For files that cannot block only. Returns the
 * length or a negative errno. */
ssize_t procscan_read(pid_t pid, const char *name, char *ret, size_t size);

/* The same for large files: owned by the caller. */
int procscan_read_all(pid_t pid, const char *name, size_t max, char **ret, size_t *ret_n);
