#pragma once

/*
 * Privileges
 *
 * podspan-watch needs its capabilities to load the kernel side. After that it reads /proc, context files and bundles,
 * writes the spool, and asks the kernel for nothing else: no other program, no network, no mount, no further BPF
 * program. Which capabilities it has at all is its unit's business (conf.d/systemd/podspan-watch.service.in).
 */

#include <stdbool.h>

/*
 * Sets no_new_privs and loads the filter; call it once everything is set up. What is not allowed fails with EPERM, or
 * with @kill (PODSPAN_SECCOMP=kill, for tests) ends the process. Returns 0 or a negative errno.
 */
int privilege_drop(bool kill);
