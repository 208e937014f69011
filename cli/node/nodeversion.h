#pragma once

/*
 * Versions of what runs on a node
 *
 * No process is asked by executing its program. A version comes, in this order, from an option; from what the process
 * itself wrote to the journal (kubelet) or answers to CRI's Version (a runtime); from Go's build information in the
 * file that the believed process executes. Distributions build without it or strip it, so it may say a major version
 * only, or nothing: then the version is unknown, and what depends on it says so.
 */

#include "nodeproc.h"

typedef struct NodeVersion {
        char text[64]; /* "v1.34.1"; "" if only the major version is known */
        unsigned major, minor, patch;
        bool known;       /* major */
        bool exact;       /* minor and patch, too */
        char source[160]; /* where it was seen, or why it is not known: for people */
} NodeVersion;

/* Parses "v1.34.1", "1.6.20~ds1", "2.1.0-rc.0", "Kubernetes v1.34.1". Returns true with major to text set. No I/O. */
bool nodeversion_parse(const char *s, NodeVersion *ret);

/* Kubelet's. @option may be NULL, @proc, too: nobody is believed to be it. */
void nodeversion_kubelet(const char *root, int root_fd, const Nodeproc *proc, const char *option, NodeVersion *ret);

/* containerd's. @socket, where the runtime listens, is asked unless NULL. */
void nodeversion_containerd(int root_fd, const Nodeproc *proc, const char *socket, const char *option,
                            NodeVersion *ret);

/* Is it lower than this? Only for one that is exact. */
bool nodeversion_below(const NodeVersion *version, unsigned major, unsigned minor, unsigned patch);
