#pragma once

/*
 * What a pod waits for now
 *
 * The answer to `podspan why POD --now`: one sentence, the chain from the call to the leaf, the evidence. It is read
 * from /proc, the context files and the files that engines have open; the store, where there is one, says how often a
 * call was tried before. JSON: docs/podspan.md.
 */

#include "cli.h"

/* Prints the answer for the pod (its name, NAMESPACE/NAME or UID; of podman's, the container's name) to standard
 * output. Returns CLI_NOTHING where nothing of it is in flight. Call after cli_resolve(). */
CliExit now_print(const Cli *cli, const char *pod);

/* Has anything of the pod been in flight for @age_ns or longer? For a command that chooses its question. */
bool now_hangs(const Cli *cli, const char *pod, uint64_t age_ns);
