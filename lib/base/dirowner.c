#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "dirowner.h"
#include "util.h"

static bool owner_trusted(const struct stat *st) {
        return st->st_uid == 0 || st->st_uid == geteuid();
}

static bool obeys(const struct stat *st, DirOwnerRule rule, gid_t group) {
        switch (rule) {
        case DIROWNER_PRIVATE:
                return owner_trusted(st) && !(st->st_mode & (S_IWGRP | S_IWOTH));
        case DIROWNER_STICKY:
                return owner_trusted(st) && (!(st->st_mode & (S_IWGRP | S_IWOTH)) || (st->st_mode & S_ISVTX));
        case DIROWNER_GROUP:
                return (owner_trusted(st) || st->st_gid == group) && !(st->st_mode & S_IWOTH);
        }
        return false;
}

int dirowner_check(int fd, DirOwnerRule rule, gid_t group) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        return obeys(&st, rule, group) ? 0 : -EPERM;
}

/* A symbolic link has no mode of its own; who owns it decides where it leads. */
static bool entry_trusted(const struct stat *st) {
        return S_ISLNK(st->st_mode) ? owner_trusted(st) : obeys(st, DIROWNER_STICKY, 0);
}

static int check_entry(const char *path, char *ret_bad, size_t size) {
        struct stat st;

        if (lstat(path, &st) < 0)
                return -errno;
        if (entry_trusted(&st))
                return 0;
        (void) snprintf(ret_bad, size, "%s", path);
        return -EPERM;
}

/* Checks the directories above the last component of @path. */
static int check_components(const char *path, char *ret_bad, size_t size) {
        char part[PATH_MAX + 2];
        size_t n = strlen(path);
        int r;

        if (n >= sizeof(part))
                return -ENAMETOOLONG;
        memcpy(part, path, n + 1);

        r = check_entry("/", ret_bad, size);
        for (size_t i = 1; i < n && r == 0; i++) {
                if (part[i] != '/')
                        continue;
                part[i] = '\0';
                r = check_entry(part, ret_bad, size);
                part[i] = '/';
        }
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int dirowner_check_parents(const char *path, char *ret_bad, size_t size) {
        char parent[PATH_MAX], real[PATH_MAX + 2];
        const char *slash;
        int r;

        assert(path && path[0] == '/');
        assert(ret_bad);

        r = check_components(path, ret_bad, size);
        if (r < 0)
                return r;

        slash = strrchr(path, '/');
        if (slash == path)
                return 0;
        (void) snprintf(parent, sizeof(parent), "%.*s", (int) (slash - path), path);
        if (!realpath(parent, real))
                return errno == ENOENT ? 0 : -errno;
        /* So that the last directory is above something. */
        (void) strcat(real, "/");
        return check_components(real, ret_bad, size);
}

void dirowner_text(int dir_fd, const char *name, char ret[static DIROWNER_TEXT_MAX]) {
        char link[64], dir[DIROWNER_TEXT_MAX / 3] = "";
        struct stat st;
        ssize_t n;

        if (dir_fd >= 0) {
                (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
                n = readlink(link, dir, sizeof(dir) - 2);
                if (n > 0) {
                        dir[n] = '/';
                        dir[n + 1] = '\0';
                }
        }
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                (void) snprintf(ret, DIROWNER_TEXT_MAX, "%s%.160s: %s", dir, name, strerrordesc_np(errno));
        else
                (void) snprintf(ret, DIROWNER_TEXT_MAX,
                                "%s%.160s (uid %u, gid %u, mode %04o) can be changed by others than root and uid %u: "
                                "remove it, or correct its owner and mode",
                                dir, name, (unsigned) st.st_uid, (unsigned) st.st_gid, (unsigned) (st.st_mode & 07777),
                                (unsigned) geteuid());
}
