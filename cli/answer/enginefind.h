#pragma once

/*
 * Which engine a podspan-cri forwards to
 *
 * Follows the podspan-cri's Unix sockets to their peers: the engine is the one of the node's engines that has such a
 * peer, or the listener in whose queue the connection waits. So two engines on one node are told apart.
 */

#include "procscan.h"
#include "sockdiag.h"

#define ENGINEFIND_FDS_MAX 4096 /* descriptors of one process that are looked at */

/* The engine of @engines that the process @pid is connected to; NULL: none, or not known. @diag: the sockets of our
 * network namespace. */
const Proc *enginefind_of(pid_t pid, const Proc *const *engines, size_t n_engines, const Sockdiag *diag);
