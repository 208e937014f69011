#pragma once

/*
 * OOM victim
 *
 * Whether a kill of the OOM killer in a container's cgroup was of the container's first process, or of another one. The
 * cgroup names no victim. But the victim dies, and another process goes on: OOMVICTIM_LOOK_NS after each kill the first
 * process is looked at. Order: oomvictim_init(), then any number of oomvictim_kill(), then oomvictim_end() once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "clk.h"
#include "loop.h"

#define OOMVICTIM_LOOK_NS    NSEC_PER_SEC
#define OOMVICTIM_OTHERS_MAX 8 /* kills of other processes that are remembered: the first of them */

typedef struct OomVictim OomVictim;

struct OomVictim {
        LoopTimer timer;
        Loop *loop; /* NULL: not in use */
        pid_t pid;
        bool open; /* the last kill may be of the first process */
        Clk last;  /* when it was */
        Clk others[OOMVICTIM_OTHERS_MAX];
        size_t n_others;
};

#define OOMVICTIM_NULL \
        { .timer = LOOP_TIMER_NULL }

/* The first process is @pid. Returns 0 or a negative errno; kills are then decided on at the end alone. */
int oomvictim_init(OomVictim *victim, Loop *loop, pid_t pid);
void oomvictim_deinit(OomVictim *victim);

/* The OOM killer has killed at @at. */
void oomvictim_kill(OomVictim *victim, const Clk *at);

/*
 * The first process has ended, by @signal (0: none). Returns whether the OOM killer killed it. All other kills are in
 * @others from then on.
 */
bool oomvictim_end(OomVictim *victim, int signal);

/* Is the process on its way out, by the text of /proc/PID/stat? An unreadable one is not. */
bool oomvictim_parse_stat(const char *s, size_t len);
/* Is a SIGKILL waiting for it, by the text of /proc/PID/status? */
bool oomvictim_parse_status(const char *s, size_t len);
