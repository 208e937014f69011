#pragma once

/*
 * Owners of directories
 *
 * A directory decides something: whose child a span is (STATE/context), who answers kubelet (the parents of
 * podspan-cri's socket), whose spans are stored (STATE/spool). Whoever may rename entries in such a directory decides
 * it instead. So the directory has to belong to root or to the user that this program runs as, and nobody else may
 * write to it.
 *
 * A refused directory is never a reason to fail a container or a call: the caller logs dirowner_text() once, counts
 * COUNTERS_UNTRUSTED, and goes on without the directory.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define DIROWNER_TEXT_MAX 512

typedef enum DirOwnerRule {
        DIROWNER_PRIVATE, /* root's or ours; writable for its owner only */
        DIROWNER_STICKY,  /* root's or ours; others may write where the sticky bit keeps them from others' entries */
        DIROWNER_GROUP,   /* the spool: any owner of the right group, and the group may write; others may not */
} DirOwnerRule;

/*
 * Checks the open directory @fd. @group is the group that DIROWNER_GROUP accepts: a directory of another group has to
 * be root's or ours. Returns 0, -EPERM if the rule is broken, or another negative errno.
 */
int dirowner_check(int fd, DirOwnerRule rule, gid_t group);

/*
 * Checks every directory above @path, which is absolute, by DIROWNER_STICKY: as it is spelled, and where its symbolic
 * links lead. Directories that are not there yet are skipped. Returns 0; -EPERM with the directory in @ret_bad (of
 * @size bytes); or another negative errno.
 */
int dirowner_check_parents(const char *path, char *ret_bad, size_t size);

/* Says in one sentence what is wrong with the directory @name in @dir_fd (AT_FDCWD: @name is a path) and what to do. */
void dirowner_text(int dir_fd, const char *name, char ret[static DIROWNER_TEXT_MAX]);
