#pragma once

/*
 * Chains, printed
 *
 * What inflight and why print alike: a process and its wait as JSON, text that keeps within the screen.
 */

#include "chain.h"
#include "cli.h"

/* {"program", "pid", "role", "age_ns", "state", "peer", "wait": {…}} */
void chainview_json_link(Json *json, const Chains *chains, const ChainLink *link);

/* The members of one call's map: what is known of the call, "chain", "leaf". */
void chainview_json_chain(Json *json, const Chains *chains, const Chain *chain);

/* The members "stuck" and "incomplete". */
void chainview_json_rest(Json *json, const Chains *chains);

/*
 * Prints @text, which is hostile, with @first before it. A line ends at a blank before the screen's width, and goes on
 * below where the text began.
 */
void chainview_wrap(const Screen *screen, const char *first, const char *text, ScreenStyle style);

/* "default/web", its UID, or "-". */
void chainview_pod(const Identity *identity, char *ret, size_t size);

/* "CNI plugin bridge (pid 2718)" */
void chainview_program(const Proc *proc, char *ret, size_t size);

/* The section of processes in state D and of zombies, if there are any. */
void chainview_stuck(const Screen *screen, const Chains *chains);
