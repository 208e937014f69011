#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include "nodefile.h"

#define LABEL_MAX   256
#define ENTRIES_MAX 4096
#define DEPTH_MAX   128 /* folders above a file */

int nodefile_root(const char *root) {
        int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int nodefile_open(int root_fd, const char *path, int flags) {
        struct open_how how = { .flags = (uint64_t) (flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };

        for (;;) {
                long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

                if (fd >= 0)
                        return (int) fd;
                /* EAGAIN: something was renamed while the kernel looked. */
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
}

/* @path without @dir at its begin, as components: "" for @dir itself; NULL if it does not begin so. */
static const char *strip_folder(const char *dir, const char *path) {
        for (;;) {
                size_t n;

                dir += strspn(dir, "/");
                path += strspn(path, "/");
                if (!*dir)
                        return path;
                n = strcspn(dir, "/");
                if (strncmp(dir, path, n) != 0 || (path[n] != '/' && path[n] != '\0'))
                        return NULL;
                dir += n;
                path += n;
        }
}

static bool is_dots(const char *name, size_t n) {
        return (n == 1 && name[0] == '.') || (n == 2 && memcmp(name, "..", 2) == 0);
}

int nodefile_open_beneath(int root_fd, const char *dir, const char *path, const char **ret_name) {
        struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        const char *rest = strip_folder(dir, path), *name = rest ? strrchr(rest, '/') : NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_free_ char *folder = NULL;
        long fd;

        if (!rest)
                return -EXDEV;
        name = name ? name + 1 : rest;
        if (!*name || is_dots(name, strlen(name)))
                return -EINVAL;
        folder = name == rest ? strdup(".") : strndup(rest, (size_t) (name - rest));
        if (!folder)
                return -ENOMEM;
        dir_fd = nodefile_open(root_fd, dir, O_RDONLY | O_DIRECTORY);
        if (dir_fd < 0)
                return dir_fd;
        do
                fd = syscall(SYS_openat2, dir_fd, folder, &how, sizeof(how));
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        if (fd < 0)
                return -errno;
        *ret_name = name;
        return (int) fd;
}

bool nodefile_is_beneath(int root_fd, const char *dir, const char *path) {
        const char *name, *rest = strip_folder(dir, path);
        _cleanup_close_ int fd = nodefile_open_beneath(root_fd, dir, path, &name);

        if (fd >= 0 || fd != -ENOENT || !rest)
                return fd >= 0;
        for (size_t n; *rest; rest += n) {
                rest += strspn(rest, "/");
                n = strcspn(rest, "/");
                if (is_dots(rest, n))
                        return false;
        }
        return true;
}

bool nodefile_same(int root_fd, const char *a, const char *b) {
        _cleanup_close_ int a_fd = -EBADF, b_fd = -EBADF;
        const char *a_name, *b_name;
        struct stat a_st, b_st;

        if (strcmp(a, b) == 0)
                return true;
        a_fd = nodefile_open_parent(root_fd, a, &a_name);
        b_fd = nodefile_open_parent(root_fd, b, &b_name);
        return a_fd >= 0 && b_fd >= 0 && strcmp(a_name, b_name) == 0 && fstat(a_fd, &a_st) >= 0 &&
               fstat(b_fd, &b_st) >= 0 && a_st.st_dev == b_st.st_dev && a_st.st_ino == b_st.st_ino;
}

bool nodefile_owner_only(const struct stat *st) {
        return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & 022);
}

static int read_all(int fd, Bytes *ret) {
        return util_read_fd(fd, BYTES_FILE_MAX, &ret->p, &ret->n);
}

int nodefile_read(int root_fd, const char *path, Bytes *ret, NodeStat *ret_stat) {
        _cleanup_close_ int fd = nodefile_open(root_fd, path, O_RDONLY | O_NONBLOCK);
        _cleanup_bytes_ Bytes data = BYTES_NULL;
        struct stat st;
        int r;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        r = read_all(fd, &data);
        if (r < 0)
                return r;
        *ret = TAKE(data, ((Bytes) BYTES_NULL));
        if (ret_stat)
                *ret_stat = (NodeStat){ st.st_mode & 07777, st.st_uid, st.st_gid };
        return 0;
}

int nodefile_read_proc(int root_fd, const char *path, Bytes *ret) {
        _cleanup_close_ int fd = nodefile_open(root_fd, path, O_RDONLY | O_NONBLOCK);
        _cleanup_free_ char *p = NULL;
        size_t n = 0;
        ssize_t got;

        if (fd < 0)
                return fd;
        p = malloc(BYTES_FILE_MAX + 1);
        if (!p)
                return -ENOMEM;
        while (n < BYTES_FILE_MAX && (got = read(fd, p + n, BYTES_FILE_MAX - n)) != 0) {
                if (got < 0)
                        return -errno;
                n += (size_t) got;
        }
        return bytes_dup(p, n, ret);
}

int nodefile_open_parent(int root_fd, const char *path, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *parent = NULL;
        int fd;

        if (!slash || !slash[1])
                return -EINVAL;
        parent = strndup(path, slash == path ? 1 : (size_t) (slash - path));
        if (!parent)
                return -ENOMEM;
        fd = nodefile_open(root_fd, parent, O_RDONLY | O_DIRECTORY);
        if (fd >= 0)
                *ret_name = slash + 1;
        return fd;
}

/* Where the file behind @path, maybe a symbolic link, really is: its folder, and its name in @real. */
static int open_target(int root_fd, const char *path, char real[static PATH_MAX], const char **ret_name, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF, dir_fd = -EBADF;
        char link[64], *slash;
        ssize_t n;

        fd = nodefile_open(root_fd, path, O_PATH);
        if (fd < 0) {
                if (fd != -ENOENT)
                        return fd;
                dir_fd = nodefile_open_parent(root_fd, path, ret_name);
                if (dir_fd < 0)
                        return dir_fd;
                *ret_fd = TAKE_FD(dir_fd);
                return -EBADF;
        }
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, real, PATH_MAX - 1);
        if (n < 0)
                return -errno;
        real[n] = '\0';
        slash = strrchr(real, '/');
        if (!slash)
                return -ENOENT;
        *slash = '\0';
        dir_fd = open(*real ? real : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        *ret_name = slash + 1;
        *ret_fd = TAKE_FD(dir_fd);
        return 0;
}

int nodefile_check_owner(int root_fd, const char *path) {
        _cleanup_close_ int fd = nodefile_open(root_fd, path, O_PATH), dir_fd = -EBADF;
        char real[PATH_MAX];
        const char *name;
        struct stat st, root, above;
        int r;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0 || fstat(root_fd, &root) < 0)
                return -errno;
        if (!nodefile_owner_only(&st))
                return -EPERM;
        r = open_target(root_fd, path, real, &name, &dir_fd);
        if (r < 0)
                return r == -EBADF ? -ENOENT : r;
        if (fstat(dir_fd, &st) < 0)
                return -errno;
        for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
                int up;

                if (!nodefile_owner_only(
                            &(struct stat){ .st_uid = st.st_uid, .st_mode = st.st_mode & S_ISVTX ? 0 : st.st_mode }))
                        return -EPERM;
                if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
                        return 0;
                up = openat(dir_fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (up < 0)
                        return -errno;
                close_fd(dir_fd);
                dir_fd = up;
                if (fstat(dir_fd, &above) < 0)
                        return -errno;
                /* The top without having met our root: it lies elsewhere. */
                if (above.st_dev == st.st_dev && above.st_ino == st.st_ino)
                        return -EXDEV;
                st = above;
        }
        return -ELOOP;
}

/* Without a name until it is whole: CRI-O reads every file of its folder, also one that a crash left there. */
static int write_new(int dir_fd, const char *temp, const Bytes *data, const NodeStat *stat, const char *label,
                     ssize_t label_n) {
        _cleanup_close_ int fd = openat(dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
        bool named = fd < 0;
        char link[64];
        int r;

        if (named)
                fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = util_write_all(fd, data->p, data->n);
        if (r < 0)
                return r;
        if (fchown(fd, stat->uid, stat->gid) < 0)
                return -errno;
        if (fchmod(fd, stat->mode) < 0)
                return -errno;
        if (label_n > 0 && fsetxattr(fd, "security.selinux", label, (size_t) label_n, 0) < 0 && errno != EOPNOTSUPP)
                return -errno;
        if (fsync(fd) < 0)
                return -errno;
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        return !named && linkat(AT_FDCWD, link, dir_fd, temp, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static void temp_name(const char *name, char ret[static NAME_MAX]) {
        (void) snprintf(ret, NAME_MAX, ".%.200s.podspan-new", name);
}

int nodefile_write(int root_fd, const char *path, const Bytes *data, const NodeStat *stat) {
        _cleanup_close_ int dir_fd = -EBADF;
        char real[PATH_MAX], temp[NAME_MAX], label[LABEL_MAX], self[PATH_MAX];
        const char *name;
        ssize_t label_n = 0;
        int r;

        r = open_target(root_fd, path, real, &name, &dir_fd);
        if (r < 0 && r != -EBADF)
                return r;
        if (r >= 0 && snprintf(self, sizeof(self), "/proc/self/fd/%d/%s", dir_fd, name) < (int) sizeof(self))
                label_n = lgetxattr(self, "security.selinux", label, sizeof(label));

        temp_name(name, temp);
        if (unlinkat(dir_fd, temp, 0) < 0 && errno != ENOENT)
                return -errno;
        r = write_new(dir_fd, temp, data, stat, label, label_n);
        if (r >= 0 && renameat(dir_fd, temp, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, temp, 0);
                return r;
        }
        return fsync(dir_fd) < 0 ? -errno : 0;
}

void nodefile_sweep(int root_fd, const char *path) {
        _cleanup_close_ int dir_fd = -EBADF;
        char real[PATH_MAX], temp[NAME_MAX];
        const char *name;
        int r;

        r = open_target(root_fd, path, real, &name, &dir_fd);
        if (r < 0 && r != -EBADF)
                return;
        temp_name(name, temp);
        (void) unlinkat(dir_fd, temp, 0);
}

int nodefile_remove(int root_fd, const char *path) {
        const char *name;
        _cleanup_close_ int dir_fd = nodefile_open_parent(root_fd, path, &name);

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        if (unlinkat(dir_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(dir_fd) < 0 ? -errno : 0;
}

int nodefile_mkdirs(int root_fd, const char *path, mode_t mode, int (*fn)(const char *path, void *userdata),
                    void *userdata) {
        _cleanup_free_ char *part = strdup(path);
        int r;

        if (!part)
                return -ENOMEM;
        for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
                _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
                const char *name;

                if (slash)
                        *slash = '\0';
                fd = nodefile_open(root_fd, part, O_RDONLY | O_DIRECTORY);
                if (fd < 0 && fd != -ENOENT)
                        return fd;
                if (fd == -ENOENT) {
                        r = fn ? fn(part, userdata) : 0;
                        if (r < 0)
                                return r;
                        if (mode != 0) {
                                dir_fd = nodefile_open_parent(root_fd, part, &name);
                                if (dir_fd < 0)
                                        return dir_fd;
                                if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
                                        return -errno;
                                if (fsync(dir_fd) < 0)
                                        return -errno;
                        }
                }
                if (!slash)
                        return 0;
                *slash = '/';
        }
}

void nodefile_rmdir(int root_fd, const char *path) {
        const char *name;
        _cleanup_close_ int dir_fd = nodefile_open_parent(root_fd, path, &name);

        if (dir_fd >= 0)
                (void) unlinkat(dir_fd, name, AT_REMOVEDIR);
}

/* Takes @dir_fd. */
static int remove_entries(int dir_fd, unsigned depth) {
        struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
        _cleanup_close_ int own = dir_fd;
        const struct dirent *entry;
        int r = depth < DEPTH_MAX ? 0 : -ELOOP;
        DIR *dir = r < 0 ? NULL : fdopendir(own);

        if (!dir)
                return r < 0 ? r : -errno;
        own = -EBADF;
        while (r >= 0 && (entry = readdir(dir))) {
                long fd;

                if (is_dots(entry->d_name, strlen(entry->d_name)))
                        continue;
                fd = syscall(SYS_openat2, dirfd(dir), entry->d_name, &how, sizeof(how));
                if (fd >= 0)
                        r = remove_entries((int) fd, depth + 1);
                else if (errno != ENOTDIR && errno != ELOOP)
                        r = errno == EXDEV ? -EBUSY : -errno;
                if (r >= 0 && unlinkat(dirfd(dir), entry->d_name, fd >= 0 ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
                        r = -errno;
        }
        (void) closedir(dir);
        return r;
}

int nodefile_remove_tree(int root_fd, const char *path) {
        const char *name;
        _cleanup_close_ int dir_fd = nodefile_open_parent(root_fd, path, &name);
        int fd, r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return errno == ENOTDIR || errno == ELOOP ? nodefile_remove(root_fd, path) : -errno;
        r = remove_entries(fd, 0);
        return r < 0 ? r : unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

typedef struct Names {
        char *name[ENTRIES_MAX];
        size_t n;
} Names;

static Names *names_free(Names *names) {
        if (names)
                for (size_t i = 0; i < names->n; i++)
                        free(names->name[i]);
        free(names);
        return NULL;
}
DEFINE_CLEANUP(Names *, names_free);

static int by_name(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int read_names(int fd, const char *suffix, Names *names) {
        _cleanup_close_ int own = fd;
        DIR *dir = fdopendir(own);
        const struct dirent *entry;
        int r = 0;

        if (!dir)
                return -errno;
        own = -EBADF;
        while (r >= 0 && names->n < ENTRIES_MAX && (entry = readdir(dir))) {
                size_t n = strlen(entry->d_name), suffix_n = suffix ? strlen(suffix) : 0;

                if (suffix ? *entry->d_name == '.' || n < suffix_n || strcmp(entry->d_name + n - suffix_n, suffix) != 0
                           : is_dots(entry->d_name, n))
                        continue;
                names->name[names->n] = strdup(entry->d_name);
                r = names->name[names->n] ? 0 : -ENOMEM;
                if (r >= 0)
                        names->n++;
        }
        (void) closedir(dir);
        return r;
}

int nodefile_list(int root_fd, const char *path, const char *suffix, int (*fn)(const char *path, void *userdata),
                  void *userdata) {
        _cleanup_(names_freep) Names *names = calloc(1, sizeof(*names));
        int fd = nodefile_open(root_fd, path, O_RDONLY | O_DIRECTORY), r;

        if (!names) {
                close_fd(fd);
                return -ENOMEM;
        }
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = read_names(fd, suffix, names);
        if (r < 0)
                return r;
        if (names->n > 0)
                qsort(names->name, names->n, sizeof(*names->name), by_name);
        for (size_t i = 0; i < names->n; i++) {
                _cleanup_free_ char *full = NULL;

                if (asprintf(&full, "%s/%s", path, names->name[i]) < 0) {
                        full = NULL;
                        return -ENOMEM;
                }
                r = fn(full, userdata);
                if (r != 0)
                        return r;
        }
        return 0;
}

int nodefile_connect(int root_fd, const char *path, uid_t *ret_peer) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int node_fd = nodefile_open(root_fd, path, O_PATH), fd = -EBADF;
        struct ucred peer = { .uid = (uid_t) -1 };
        socklen_t peer_n = sizeof(peer);

        if (node_fd < 0)
                return node_fd;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", node_fd);
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_n) < 0)
                return -errno;
        *ret_peer = peer.uid;
        return TAKE_FD(fd);
}
