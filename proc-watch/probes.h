#pragma once

/*
 * Probes
 *
 * The programs of the kernel side that tell what commands spend their time with (work.bpf.h): tracepoints on system
 * calls and context switches, which all processes of the machine pay for. They are loaded at the start, attached while
 * somebody wants to know, and detached again. Nothing else depends on them.
 */

#include <bpf/libbpf.h>
#include "event.h"
#include "util.h"

#define PROBES_MAX 3

typedef struct Probes {
        const struct bpf_program *programs[PROBES_MAX]; /* borrowed */
        int fds[PROBES_MAX];                            /* attached while open */
} Probes;

#define PROBES_NULL                               \
        {                                         \
                .fds = { -EBADF, -EBADF, -EBADF } \
        }

/* 0 or a negative errno, then none is attached. Doing twice what has been done is fine. */
int probes_attach(Probes *probes);
void probes_detach(Probes *probes);

/* What each system call by number is, for work.bpf.h. */
void probes_calls(uint8_t ret[static EVENT_CALLS_MAX]);
