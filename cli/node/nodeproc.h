#pragma once

/*
 * Who is who among a node's processes
 *
 * Decides which process is kubelet, containerd, crio, podspan-cri or podspan-watch. A name, an argument and a title are
 * what a process says of itself, so they only make it a candidate. It is believed if
 *
 *   - its four user ids are 0;
 *   - it is in the pid namespace of the /proc that podspan reads, and in the mount namespace of PID 1 there;
 *   - the file it executes has the name, is root's, and only root can write it;
 *   - its cgroup is outside pods and containers, seen from PID 1's;
 *   - it is the main process of its unit, where its cgroup is a unit's: a child of PID 1;
 *   - no second process passes all of this. Of two, neither is believed, and both are named.
 *
 * A process that passes all but the mount namespace is NODEPROC_ELSEWHERE: Talos starts kubelet so. It may be reported;
 * the paths on its command line are not this node's. podspan-cri and podspan-watch are believed there, since their
 * units give them a mount namespace.
 *
 * In a tree that is not this node's (--root), the tree's files below /proc answer the same questions: PID/cmdline,
 * status, exe, cgroup, ns/mnt and 1/ns/mnt, 1/cgroup. What the tree does not show is unknown, and a process of which
 * something is unknown is not believed. Nothing is executed, and no process is touched.
 */

#include <sys/types.h>
#include "bytes.h"

#define NODEPROC_MAX 16

typedef enum NodeprocKind {
        NODEPROC_KUBELET,
        NODEPROC_CONTAINERD,
        NODEPROC_CRIO,
        NODEPROC_CRI, /* podspan-cri */
        NODEPROC_WATCH,
        _NODEPROC_KIND_MAX,
} NodeprocKind;

typedef enum NodeprocTrust {
        NODEPROC_REFUSED,   /* it only has the name, or something is unknown: see why */
        NODEPROC_ELSEWHERE, /* believed, in a mount namespace of its own */
        NODEPROC_BELIEVED,
} NodeprocTrust;

typedef struct Nodeproc {
        pid_t pid;
        NodeprocTrust trust;
        bool unknown;         /* refused since something could not be seen, not for what was seen */
        char why[192];        /* one clause for people; empty where it is believed */
        Bytes cmdline;        /* the arguments, each with its NUL */
        int dir_fd;           /* /proc/PID: below it there is never another process */
        int exe_fd;           /* the file it executes, O_PATH; -EBADF where it is not known */
        uint64_t start_ticks; /* since boot; 0: unknown */
} Nodeproc;

typedef struct Nodeprocs {
        NodeprocKind kind;
        Nodeproc procs[NODEPROC_MAX];
        size_t n;
        size_t n_left_out; /* refused ones beyond NODEPROC_MAX */
        bool more;         /* more than NODEPROC_MAX pass: none is believed */
} Nodeprocs;

#define NODEPROC_NULL \
        {}

/* The program's name, "kubelet". */
const char *nodeproc_name(NodeprocKind kind);

/*
 * Looks at all processes below /proc in @root_fd. Each that has the name of @kind, by its first argument or by the file
 * it executes, is in @ret, in the order of their numbers; refused ones only as far as there is room. Returns 0 or a
 * negative errno; no /proc means no process.
 */
int nodeproc_find(int root_fd, NodeprocKind kind, Nodeprocs *ret);
void nodeproc_deinit(Nodeprocs *found);
#define _cleanup_nodeprocs_ _cleanup_(nodeproc_deinit)

/* How many pass, in this mount namespace or another; with @flag only those whose argument @flag is @value. */
size_t nodeproc_count(const Nodeprocs *found, const char *flag, const char *value);

/* The one that does, or NULL: there is none, or more than one. @flag may be NULL. Points into @found. */
const Nodeproc *nodeproc_one(const Nodeprocs *found, const char *flag, const char *value);

/* Are there two or more that pass all questions, or more than could be looked at? */
bool nodeproc_ambiguous(const Nodeprocs *found);

/* Reads a file of the process's, "environ". Returns 0 or a negative errno. */
int nodeproc_read(const Nodeproc *proc, const char *name, Bytes *ret);

/* Prints into @ret the candidates: "pid 12 (its user is 33), pid 15". */
void nodeproc_describe(const Nodeprocs *found, char *ret, size_t size);

/*
 * Is a cgroup's @path (of @n characters), as /proc/PID/cgroup says it, that of a pod or a container? @base (of @base_n)
 * is PID 1's in the same hierarchy: what lies above the node itself, as with kind, does not count. No I/O.
 */
bool nodeproc_path_in_pod(const char *path, size_t n, const char *base, size_t base_n);

/* Is the last folder of a cgroup's @path a unit's, "kubelet.service"? No I/O. */
bool nodeproc_path_is_unit(const char *path, size_t n);
