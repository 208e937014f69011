#pragma once

/*
 * Files of a node
 *
 * Reads and replaces files below a root directory ("/", or a node's tree elsewhere): symbolic links resolve inside it
 * (openat2(2), RESOLVE_IN_ROOT), so that nothing outside is ever touched. A file is replaced as a whole: a new one
 * beside it, synced, renamed over it, its folder synced; mode, owner and SELinux label stay.
 */

#include <sys/stat.h>
#include "bytes.h"

typedef struct NodeStat {
        mode_t mode;
        uid_t uid;
        gid_t gid;
} NodeStat;

/* Opens the root directory. Returns a descriptor or a negative errno. */
int nodefile_root(const char *root);

/* Opens @path, absolute, below @root_fd; @flags as open(2). Returns a descriptor or a negative errno. */
int nodefile_open(int root_fd, const char *path, int flags);

/* Reads a regular file of at most BYTES_FILE_MAX (-EFBIG). @ret_stat may be NULL. Returns 0 or a negative errno. */
int nodefile_read(int root_fd, const char *path, Bytes *ret, NodeStat *ret_stat);

/* The same for files of /proc, which tell no size: what there is, up to BYTES_FILE_MAX. */
int nodefile_read_proc(int root_fd, const char *path, Bytes *ret);

/* Makes @path what @data says, through a symbolic link if it is one. Its folder must be there. 0 or a negative errno.
 */
int nodefile_write(int root_fd, const char *path, const Bytes *data, const NodeStat *stat);

/* Removes what a write of @path that was killed may have left beside it. */
void nodefile_sweep(int root_fd, const char *path);

/* Removes the file; one that is not there is fine. */
int nodefile_remove(int root_fd, const char *path);

/* Makes the folder @path and those above it, mode @mode. Calls @fn, unless it is NULL, for each that is not there yet,
 * the outermost first; with @mode 0 that is all. */
int nodefile_mkdirs(int root_fd, const char *path, mode_t mode, int (*fn)(const char *path, void *userdata),
                    void *userdata);

/* Removes a folder if it is empty; otherwise, or without it, nothing happens. */
void nodefile_rmdir(int root_fd, const char *path);

/*
 * Removes the file, link or folder @path with all that is in it, links not followed, no file system below it entered.
 * Without it nothing happens. Returns 0, -EBUSY if a file system is mounted in it, or another negative errno; then the
 * rest is gone as far as it went.
 */
int nodefile_remove_tree(int root_fd, const char *path);

/*
 * Calls @fn with the path of each entry of the folder @path whose name ends in @suffix, sorted by name, no dot files;
 * with NULL of all entries, dot files too. A return other than 0 ends it. No folder is an empty one. Returns 0, what
 * @fn returned, or a negative errno.
 */
int nodefile_list(int root_fd, const char *path, const char *suffix, int (*fn)(const char *path, void *userdata),
                  void *userdata);

/*
 * Opens the folder of @path, which must lie in the folder @dir: what follows @dir is resolved by openat2(2) with
 * RESOLVE_BENEATH and without symbolic links, so that neither ".." nor a link leads out of it. Returns a descriptor
 * with the last component in @ret_name; -EXDEV or -ELOOP if the path is or leads elsewhere, -ENOENT if there is no such
 * folder, or another negative errno.
 */
int nodefile_open_beneath(int root_fd, const char *dir, const char *path, const char **ret_name);

/* Does @path lie in the folder @dir, as above? Where there is no such folder yet, a path without "." and ".." does. */
bool nodefile_is_beneath(int root_fd, const char *dir, const char *path);

/* Do both paths name the same entry of the same folder, through whatever links of folders? */
bool nodefile_same(int root_fd, const char *a, const char *b);

/* Is a file or folder of this owner and mode one that only root can write? We ourselves are as good as root. */
bool nodefile_owner_only(const struct stat *st);

/*
 * Can only root change what is in the file @path, or put another there? Asks for the owner and the mode of the file,
 * links followed, and of all folders above it; a folder that others write needs the sticky bit. Returns 0, -EPERM, or
 * another negative errno.
 */
int nodefile_check_owner(int root_fd, const char *path);

/* The folder of @path and its last component, in @dir_fd below @root_fd. Returns a descriptor or a negative errno. */
int nodefile_open_parent(int root_fd, const char *path, const char **ret_name);

/*
 * Connects to the stream socket @path: the one that is there, whatever becomes of the name meanwhile. Does not wait.
 * Returns a descriptor of the caller's, non-blocking, with the user that listens in @ret_peer; -EAGAIN where somebody
 * listens whose queue is full; or another negative errno.
 */
int nodefile_connect(int root_fd, const char *path, uid_t *ret_peer);
