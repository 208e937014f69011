#pragma once

/*
 * Who has it open
 *
 * One pass over the descriptors of all processes answers all questions of one run: who has a socket, a pipe, a FIFO, a
 * file with a lock. Only links and fdinfo are read, so no file system is asked. The node's own processes come first: a
 * container with many descriptors cannot hide them, only itself.
 */

#include "procscan.h"

#define FDSCAN_NS          (400 * NSEC_PER_MSEC) /* for the whole pass */
#define FDSCAN_PROC_MAX    20000                 /* descriptors of one process that are looked at */
#define FDSCAN_WANTS_MAX   4096                  /* questions */
#define FDSCAN_HOLDERS_MAX 8                     /* answers of one that are kept */
#define FDSCAN_NAME_MAX    255

typedef enum FdWantKind {
        FDWANT_SOCKET, /* @ino */
        FDWANT_PIPE,   /* @ino */
        FDWANT_FILE,   /* last part of the path @name, @ino, and the device if it is known */
        FDWANT_LOCK,   /* the same; only descriptors that hold a lock on this device and @ino */
        FDWANT_FUSE,   /* /dev/fuse, of the connection @minor where the kernel says which */
} FdWantKind;

typedef struct FdHolder {
        const Proc *proc;
        int fd;
        uint32_t flags; /* as open(2) */
} FdHolder;

typedef struct FdWant {
        FdWantKind kind;
        uint64_t ino;
        bool has_device;
        unsigned major, minor;
        char name[FDSCAN_NAME_MAX + 1];
        FdHolder holders[FDSCAN_HOLDERS_MAX];
        size_t n_holders;
        size_t n_all; /* more than are kept */
} FdWant;

typedef struct Fdscan {
        FdWant *wants;
        size_t n, n_allocated;
        bool incomplete; /* the time was over, or a process had too many: that nobody has it is not known */
} Fdscan;

#define FDSCAN_NULL \
        {}

/* Adds a question, or finds the same one. Returns its number, -E2BIG or -ENOMEM. */
int fdscan_want(Fdscan *scan, const FdWant *want);

/* Answers all questions. Returns 0 or a negative errno. */
int fdscan_run(Fdscan *scan, const Procs *procs);
void fdscan_deinit(Fdscan *scan);
