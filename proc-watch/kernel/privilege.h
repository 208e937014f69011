#pragma once

/*
 * Privileges
 *
 * podspan-watch needs its capabilities to load the kernel side. After that it reads /proc, context files and bundles,
 * writes below the state directory, and asks the kernel for nothing else: no other program, no network, no mount, no
 * further BPF program. Which capabilities it has at all is its unit's business
 * (conf.d/systemd/podspan-watch.service.in).
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct PrivilegePaths {
        const char *const
                *readable; /* below these, files can be read; of one that is missing, below what is there of it */
        size_t n_readable;
        int state_fd; /* below this, files can be read and written; negative: nowhere */
} PrivilegePaths;

typedef enum PrivilegeOutcome {
        PRIVILEGE_DROPPED,
        PRIVILEGE_NO_LANDLOCK, /* all but Landlock (before Linux 5.13, or switched off) */
} PrivilegeOutcome;

/*
 * Sets no_new_privs, confines the process to @paths (Landlock), gives up all capabilities but those for looking through
 * processes and opening files, and loads the system call filter; call it once everything is set up. What is not allowed
 * fails, with EACCES or EPERM; a system call that is not allowed ends the process instead with @kill
 * (PODSPAN_SECCOMP=kill, for tests). Returns a PrivilegeOutcome or a negative errno.
 *
 * Landlock also ends all access to other processes' /proc/PID/{exe,cwd,environ}: nothing may need them from here on.
 */
int privilege_drop(const PrivilegePaths *paths, bool kill);

/*
 * The same for the process that opens bundles below the folders of engines (opener.h): it reads the file system, and
 * keeps CAP_DAC_READ_SEARCH alone. Nothing can be written, and it has only the socket that it has already.
 */
int privilege_drop_opener(bool kill);
