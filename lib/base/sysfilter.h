#pragma once

/*
 * System call filter
 *
 * Limits the process to the system calls that it is known to need, so that a bug in a parser or a library stays a bug
 * of this process. Not part of the library that everything links: a hook or a monitor has no filter, since what it
 * executes would inherit it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A call that is allowed only where (argument @arg & @mask) == @value; several rows for one call are alternatives. */
typedef struct SysfilterArg {
        const char *call;
        unsigned arg;
        uint64_t mask;
        uint64_t value;
} SysfilterArg;

#define SYSFILTER_ARG_IS(call_, arg_, value_) \
        { .call = (call_), .arg = (arg_), .mask = UINT64_MAX, .value = (uint64_t) (value_) }
#define SYSFILTER_ARG_WITHOUT(call_, arg_, bits_) \
        { .call = (call_), .arg = (arg_), .mask = (uint64_t) (bits_), .value = 0 }

/* By name, as not every architecture has every call: those that it lacks are skipped. */
typedef struct Sysfilter {
        const char *const *calls;
        size_t n_calls;
        const SysfilterArg *args;
        size_t n_args;
} Sysfilter;

/*
 * Sets no_new_privs and loads the filter for all threads of the process; call it before a library starts threads. What
 * is not allowed fails with EPERM, or with @kill ends the process by SIGSYS. Returns 0 or a negative errno;
 * -EOPNOTSUPP, -EINVAL or -ENOSYS where the kernel has no seccomp.
 */
int sysfilter_load(const Sysfilter *filter, bool kill);

/* PODSPAN_SECCOMP=kill: tests look for what a filter lacks. */
bool sysfilter_kill_wanted(void);
