#pragma once

/*
 * Watch state
 *
 * podspan-watch records its state in the file STATE/watch-state: it runs, it cannot run here and why, it failed, or it
 * was stopped. `podspan status` and `podspan doctor` read the record, also when podspan-watch is dead.
 *
 * The record of a process that starts or runs carries a lock, which the kernel removes with the process. So a record
 * that a SIGKILL or a power cut left behind is never taken for a running process. A record of an earlier boot is stale:
 * the kernel may be another one.
 *
 * The record is text, one "key value" a line, behind the line "podspan-watch 1". It belongs to the owner of STATE, who
 * alone may write it: readers refuse any other.
 */

#include <sys/types.h>
#include "util.h"

#define WATCHSTATE_FILE       "watch-state"
#define WATCHSTATE_MAX        1024 /* bytes of a record */
#define WATCHSTATE_REASON_MAX 512  /* bytes of a reason, with NUL; the rest is cut off */

/* podspan-watch's exit code where it cannot run. Its unit does not start it again then (RestartPreventExitStatus=). */
#define WATCHSTATE_EXIT_REFUSED 3

typedef enum WatchStateKind {
        WATCHSTATE_STARTING, /* it loads the kernel side */
        WATCHSTATE_RUNNING,
        WATCHSTATE_REFUSED, /* it cannot run here, see `missing` and `reason`; nobody starts it again */
        WATCHSTATE_FAILED,  /* it ended with an error, see `reason`; the service manager starts it again */
        WATCHSTATE_STOPPED, /* it was told to end */
        /* Made by watchstate_read() alone: */
        WATCHSTATE_DIED,  /* its process is gone and recorded no end; the service manager starts it again */
        WATCHSTATE_STALE, /* the record is of an earlier boot; podspan-watch was not started since */
        _WATCHSTATE_KIND_MAX,
} WatchStateKind;

/* What podspan-watch lacks where it cannot run. */
typedef enum WatchStateMissing {
        WATCHSTATE_MISSING_NONE,
        WATCHSTATE_MISSING_KERNEL,     /* a feature of the kernel */
        WATCHSTATE_MISSING_BTF,        /* the kernel's type information, /sys/kernel/btf/vmlinux */
        WATCHSTATE_MISSING_CAPABILITY, /* CAP_BPF or CAP_PERFMON, or a security module forbids bpf() */
        WATCHSTATE_MISSING_NAMESPACE,  /* it must run in the host's pid namespace */
        _WATCHSTATE_MISSING_MAX,
} WatchStateMissing;

typedef struct WatchState {
        WatchStateKind kind;
        WatchStateMissing missing;          /* of WATCHSTATE_REFUSED, else WATCHSTATE_MISSING_NONE */
        pid_t pid;                          /* as podspan-watch saw it; for people, not to be acted on */
        uint64_t since_ns;                  /* wall clock, when the record was made */
        char reason[WATCHSTATE_REASON_MAX]; /* one sentence for people, printable; may be empty */
} WatchState;

/*
 * Reads the record of @state_fd. Takes no lock and waits for nobody. Returns 0, -ENOENT if there is no record
 * (podspan-watch was never started, or STATE is new), -EPERM if it is not the record of STATE's owner, -EBADMSG if it
 * is malformed or of another version, or another negative errno.
 */
int watchstate_read(int state_fd, WatchState *ret);

/*
 * Replaces the record of @state_fd by @state, made now by this process; `pid` and `since_ns` are not used. @lock_fd
 * holds -EBADF at the first call and is the caller's to close at the end: it is open while the record is
 * WATCHSTATE_STARTING or WATCHSTATE_RUNNING. Returns 0, -EBUSY if another process that starts or runs has its record
 * there, which then stays, or another negative errno.
 */
int watchstate_write(int state_fd, const WatchState *state, int *lock_fd);

/* "running", "refused" …; and "kernel", "btf", "capability", "namespace", or "" for WATCHSTATE_MISSING_NONE. */
const char *watchstate_kind_name(WatchStateKind kind);
const char *watchstate_missing_name(WatchStateMissing missing);

#define WATCHSTATE_BOOT_SIZE 37 /* a boot id, with NUL */

/*
 * Parses the @len bytes of a record. Unknown keys are ignored. Returns 0 with the record in @ret and the boot that it
 * is of in @ret_boot, or -EBADMSG.
 */
int watchstate_parse(const char *text, size_t len, WatchState *ret, char ret_boot[static WATCHSTATE_BOOT_SIZE]);

/* Writes the record of @state and @boot to @ret. Returns its length in bytes. */
size_t watchstate_format(const WatchState *state, const char *boot, char ret[static WATCHSTATE_MAX]);
