#pragma once

/*
 * Kubelet's version in the journal
 *
 * Kubelet logs its version when it starts: `"Kubelet version" kubeletVersion="v1.34.1"`. The journal knows which
 * process wrote a line (_PID, _UID, which journald takes from the kernel), and so does this: a line of another process,
 * of another boot, or from before the process started does not count.
 */

#include "nodeproc.h"

#define NODEJOURNAL_ENTRIES_MAX 4096 /* of the process, from its first on */
#define NODEJOURNAL_LINE_MAX    4096

/*
 * Looks for the version that @proc wrote, in the journal of this machine or of the tree below @root ("/": this
 * machine). Returns 0 with @ret, -ENOENT if there is no journal or no such line, or another negative errno.
 */
int nodejournal_kubelet_version(const char *root, int root_fd, const Nodeproc *proc, char ret[static 64]);

/* Finds the version in one line, in klog's text or JSON. Returns true with @ret. No I/O. */
bool nodejournal_parse_line(const char *s, size_t n, char ret[static 64]);
