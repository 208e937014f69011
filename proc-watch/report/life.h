#pragma once

/*
 * Life
 *
 * A container from the exec of its command to its end, as the node of the runtime's command that made it knows it:
 * `entrypoint` with its parts, and `wait_for_exit_code`.
 */

#include "tell.h"

/*
 * The container's command has begun. `entrypoint` goes from "created", which is the end of `create` (in `run`: from
 * its begin), and falls into the wait for somebody to ask for the start, and the start. 0 or a negative errno.
 */
int life_begin(Tell *tell, Node *node, const Event *event);

/* It has been found running; @node's entry_ns is set. */
void life_found(Tell *tell, Node *node, const Event *event);

/*
 * It has ended as @event and @death say; later than @start_window_ns after its begin in a trace of its own.
 * @sender_container is the container that killed it, or NULL. 0 or a negative errno.
 */
int life_end(Tell *tell, Node *node, const Event *event, const EventDeath *death, const char *sender_container,
             const Clk *now, uint64_t start_window_ns);

/* The OOM killer has chosen a process in it. 0 or a negative errno. */
int life_victim(Node *node, const Event *event, const EventVictim *victim);
