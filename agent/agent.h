#pragma once

/*
 * Agent
 *
 * podspand without its command line: the directories, the store, the turns in which spool files become rows, retention,
 * and how failures of the store are lived with. Everything happens in one loop; the pieces do not know each other.
 */

#include "config.h"
#include "loop.h"

#define AGENT_TURN_DELAY_NS (250 * NSEC_PER_MSEC) /* files that come within this are one transaction */
#define AGENT_TURN_FILES    256                   /* of one turn */
#define AGENT_TURN_BYTES    (4U * 1024 * 1024)    /* read; the file that exceeds it is the last one */
#define AGENT_TICK_NS       (2 * NSEC_PER_SEC)    /* scans, retention, what was removed made again */
#define AGENT_PAUSE_NS      (1 * NSEC_PER_SEC)    /* after a failure of the store */

typedef struct Agent Agent;

/*
 * Sets up everything up to the first turn. @config, the names and @spawner_fd (spawner_start()) are borrowed. Returns 0
 * with an agent owned by the caller, or a negative errno, logged.
 */
int agent_new(Loop *loop, int spawner_fd, const Config *config, const char *state_dir, const char *store_dir,
              Agent **ret);
Agent *agent_free(Agent *agent);
DEFINE_CLEANUP(Agent *, agent_free);

/*
 * The configuration has changed. What is open and under way goes on; where spans go, which of them, what they are given
 * and how long they are kept is as it says now. Returns 0, or a negative errno with a message in @reterr_message (owned
 * by the caller, may be NULL); then nothing has changed.
 */
int agent_reload(Agent *agent, char **reterr_message);

/* A last scan, a commit, and one bounded attempt to export; then the loop ends with 0. */
int agent_finish(Agent *agent);

/* One line for the service manager: where spans go. Valid until the next call. */
const char *agent_status(const Agent *agent);
