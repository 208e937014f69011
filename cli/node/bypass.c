#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "bypass.h"
#include "nodefile.h"

typedef struct Names {
        int dir_fd;
        const char *name;
        char other[NAME_MAX + 1];
} Names;

static void names_deinit(Names *names) {
        close_fd(names->dir_fd);
}

static bool is_roots(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

static int names_init(Names *names, int root_fd, const char *path) {
        struct stat st;

        names->dir_fd = nodefile_open_parent(root_fd, path, &names->name);
        if (names->dir_fd < 0)
                return names->dir_fd;
        if (fstat(names->dir_fd, &st) < 0)
                return -errno;
        if (!is_roots(st.st_uid) || (st.st_mode & 022 && !(st.st_mode & S_ISVTX)))
                return -EPERM;
        if (snprintf(names->other, sizeof(names->other), "%s" BYPASS_SUFFIX, names->name) >= (int) sizeof(names->other))
                return -ENAMETOOLONG;
        return 0;
}

#define NAMES_NULL \
        { .dir_fd = -EBADF }

static int type_of(int dir_fd, const char *name, mode_t *ret) {
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                if (errno != ENOENT)
                        return -errno;
                st.st_mode = 0;
        } else if (!is_roots(st.st_uid))
                return -EPERM;
        *ret = st.st_mode & S_IFMT;
        return 0;
}

int bypass_state(int root_fd, const char *path, BypassState *ret) {
        _cleanup_(names_deinit) Names names = NAMES_NULL;
        mode_t type = 0;
        int r;

        r = names_init(&names, root_fd, path);
        if (r == -ENOENT) {
                *ret = BYPASS_ABSENT;
                return 0;
        }
        if (r < 0 || (r = type_of(names.dir_fd, names.name, &type)) < 0)
                return r;
        if (type != 0 && type != S_IFSOCK && type != S_IFLNK)
                return -EEXIST;
        *ret = type == S_IFSOCK ? BYPASS_OFF : type == S_IFLNK ? BYPASS_ON : BYPASS_ABSENT;
        return 0;
}

int bypass_target(int root_fd, const char *path, char **ret) {
        _cleanup_(names_deinit) Names names = NAMES_NULL;
        char target[PATH_MAX];
        mode_t type;
        ssize_t n;
        int r;

        r = names_init(&names, root_fd, path);
        if (r < 0 || (r = type_of(names.dir_fd, names.name, &type)) < 0 ||
            (r = type_of(names.dir_fd, names.other, &type)) < 0)
                return r;
        n = readlinkat(names.dir_fd, names.name, target, sizeof(target) - 1);
        if (n < 0)
                n = readlinkat(names.dir_fd, names.other, target, sizeof(target) - 1);
        if (n < 0)
                return errno == EINVAL ? -ENOENT : -errno;
        *ret = strndup(target, (size_t) n);
        return *ret ? 0 : -ENOMEM;
}

int bypass_prepare(int root_fd, const char *path, const char *target) {
        _cleanup_(names_deinit) Names names = NAMES_NULL;
        mode_t type = 0;
        int r;

        r = names_init(&names, root_fd, path);
        if (r < 0)
                return r;
        /* Asked first: a full disk must not be an answer to what need not be made. */
        r = type_of(names.dir_fd, names.other, &type);
        if (r < 0 || type != 0)
                return r;
        return symlinkat(target, names.dir_fd, names.other) < 0 && errno != EEXIST ? -errno : 0;
}

int bypass_switch(int root_fd, const char *path, bool on) {
        _cleanup_(names_deinit) Names names = NAMES_NULL;
        mode_t want = on ? S_IFLNK : S_IFSOCK, here = 0, there = 0;
        int r;

        r = names_init(&names, root_fd, path);
        if (r < 0 || (r = type_of(names.dir_fd, names.name, &here)) < 0 ||
            (r = type_of(names.dir_fd, names.other, &there)) < 0)
                return r;
        if (here == want)
                return 0;
        if (here == 0 || there == 0) {
                /* Back without a socket: the path is free for podspan-cri. */
                const char *from = there == 0 ? names.name : names.other, *to = there == 0 ? names.other : names.name;

                if (there == 0 && on)
                        return -ENOENT;
                return renameat2(names.dir_fd, from, names.dir_fd, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
        }
        if (there != want)
                return -EEXIST;
        return renameat2(names.dir_fd, names.name, names.dir_fd, names.other, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

int bypass_dial(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF;
        uid_t peer;

        fd = nodefile_connect(root_fd, path, &peer);
        /* A full backlog: somebody listens. */
        if (fd < 0)
                return fd == -EAGAIN ? 0 : fd;
        return is_roots(peer) ? 0 : -EPERM;
}
