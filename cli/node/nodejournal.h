#pragma once

/*
 * The journal
 *
 * Two things are read from it: kubelet's version, and what kubelet and the runtimes wrote in an interval
 * (nodejournal-lines.c).
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

#define NODEJOURNAL_LINES_NS    NSEC_PER_SEC /* the longest that nodejournal_lines() reads */
#define NODEJOURNAL_LINES_BYTES (16U << 20)  /* the most */
#define NODEJOURNAL_LINES_TEXT  8192         /* bytes of one line that are read */

typedef struct NodejournalLine {
        uint64_t at_ns;      /* wall clock */
        const char *program; /* "kubelet", "containerd" or "crio"; the strings are valid within the callback */
        const char *text;
        size_t n;
} NodejournalLine;

/*
 * Calls @fn for what root's kubelet, containerd and crio wrote in [@since_ns, @until_ns], newest first, until it
 * returns false. Reads the journal of this machine, or the files of the folder @dir. Bounded in time and bytes:
 * @ret_from_ns is the time from which all was read, @since_ns as a rule. Returns 0, -ENOENT if there is no journal or
 * the caller may not read it, or another negative errno.
 */
int nodejournal_lines(const char *dir, uint64_t since_ns, uint64_t until_ns,
                      bool (*fn)(const NodejournalLine *line, void *userdata), void *userdata, uint64_t *ret_from_ns);

/* Finds the version in one line, in klog's text or JSON. Returns true with @ret. No I/O. */
bool nodejournal_parse_line(const char *s, size_t n, char ret[static 64]);
