#pragma once

/*
 * Probes
 *
 * The programs of the kernel side that tell what commands spend their time with (work.bpf.h). They are loaded at the
 * start and attached once somebody wants to know. The one on context switches, which all processes of the machine pay
 * for, is detached when nobody does any more; the others are about what happens seldom, and stay. Nothing else depends
 * on them.
 */

#include <bpf/libbpf.h>
#include "event.h"
#include "util.h"

typedef enum Probe {
        PROBE_SWITCH,
        PROBE_COUNTERS,
        PROBE_INODE_BEGIN,
        PROBE_INODE_END,
        _PROBE_MAX,
} Probe;

typedef struct Probes {
        const struct bpf_program *programs[_PROBE_MAX]; /* borrowed; NULL: there is none */
        int fds[_PROBE_MAX];                            /* attached while open */
} Probes;

#define PROBES_NULL                                       \
        {                                                 \
                .fds = { -EBADF, -EBADF, -EBADF, -EBADF } \
        }

/*
 * 0 or a negative errno: of PROBE_SWITCH, without which the others say nothing; those that cannot be attached are left
 * out. Doing twice what has been done is fine.
 */
int probes_attach(Probes *probes);
void probes_detach(Probes *probes);
/* Detaches all. */
void probes_close(Probes *probes);

/* What each system call by number is, for work.bpf.h. */
void probes_calls(uint8_t ret[static EVENT_CALLS_MAX]);

/* How large the stack is that a task has in the kernel (without KASAN), in bytes, for work.bpf.h. */
uint32_t probes_stack_size(void);
