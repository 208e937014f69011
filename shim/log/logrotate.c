#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "logrotate.h"

#define NAME_SIZE (NAME_MAX + 1)

int logrotate_init(LogRotate *rotate, const char *path, const char *const *allowlist, size_t n_allowlist,
                   uint64_t max_files) {
        const char *slash = strrchr(path, '/');

        *rotate = (LogRotate){ .dir_fd = -EBADF, .max_files = max_files };

        rotate->dir = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup("./");
        rotate->path = strdup(path);
        rotate->name = strdup(slash ? slash + 1 : path);
        rotate->allowlist = calloc(n_allowlist + 1, sizeof(*rotate->allowlist));
        if (!rotate->dir || !rotate->path || !rotate->name || !rotate->allowlist)
                return -ENOMEM;
        for (; rotate->n_allowlist < n_allowlist; rotate->n_allowlist++) {
                rotate->allowlist[rotate->n_allowlist] = strdup(allowlist[rotate->n_allowlist]);
                if (!rotate->allowlist[rotate->n_allowlist])
                        return -ENOMEM;
        }

        if (rotate->name[0] == '\0')
                return -EISDIR;
        return logrotate_renew(rotate);
}

int logrotate_renew(LogRotate *rotate) {
        int fd = open(rotate->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        (void) close_fd(rotate->dir_fd);
        rotate->dir_fd = fd;
        return 0;
}

void logrotate_deinit(LogRotate *rotate) {
        rotate->dir_fd = close_fd(rotate->dir_fd);
        for (size_t i = 0; i < rotate->n_allowlist; i++)
                free(rotate->allowlist[i]);
        free(rotate->allowlist);
        free(rotate->dir);
        free(rotate->name);
        free(rotate->path);
        *rotate = (LogRotate) LOGROTATE_NULL;
}

int logrotate_open(const LogRotate *rotate, int *ret_fd, uint64_t *ret_size, LogRotateKind *ret_kind) {
        const int flags = O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
        _cleanup_close_ int fd = -EBADF;
        LogRotateKind kind;
        struct stat st;

        fd = openat(rotate->dir_fd, rotate->name, O_WRONLY | flags, LOGROTATE_MODE);
        kind = fd < 0 && errno == ENXIO ? LOGROTATE_FIFO : LOGROTATE_READ;
        if (kind == LOGROTATE_FIFO)
                fd = openat(rotate->dir_fd, rotate->name, O_RDWR | flags, LOGROTATE_MODE);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;

        if (!S_ISFIFO(st.st_mode))
                kind = S_ISREG(st.st_mode) ? LOGROTATE_FILE : LOGROTATE_DEVICE;
        else if (kind == LOGROTATE_READ) {
                int both = openat(rotate->dir_fd, rotate->name, O_RDWR | flags, LOGROTATE_MODE);

                if (both >= 0) {
                        (void) close_fd(fd);
                        fd = both;
                }
        }
        *ret_kind = kind;
        *ret_size = kind == LOGROTATE_FILE ? (uint64_t) st.st_size : 0;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* The name and a suffix; -ENAMETOOLONG if a directory cannot hold such a name. */
static int suffixed(const LogRotate *rotate, const char *suffix, char ret[static NAME_SIZE]) {
        int len = snprintf(ret, NAME_SIZE, "%s%s", rotate->name, suffix);

        return len < 0 || len >= NAME_SIZE ? -ENAMETOOLONG : 0;
}

static int numbered(const LogRotate *rotate, uint64_t number, char ret[static NAME_SIZE]) {
        char suffix[24];

        (void) snprintf(suffix, sizeof(suffix), ".%" PRIu64, number);
        return suffixed(rotate, suffix, ret);
}

bool logrotate_in_place(const LogRotate *rotate, int fd) {
        struct stat ours, there;

        return fstat(fd, &ours) == 0 && fstatat(rotate->dir_fd, rotate->name, &there, 0) == 0 &&
               ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

bool logrotate_exists(const LogRotate *rotate) {
        return faccessat(rotate->dir_fd, rotate->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int logrotate_replace(const LogRotate *rotate, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        char tmp[NAME_SIZE];
        int r;

        r = suffixed(rotate, ".tmp", tmp);
        if (r < 0)
                return r;
        fd = openat(rotate->dir_fd, tmp, O_WRONLY | O_APPEND | O_TRUNC | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                    LOGROTATE_MODE);
        if (fd < 0)
                return -errno;
        if (renameat(rotate->dir_fd, tmp, rotate->dir_fd, rotate->name) < 0) {
                r = -errno;
                (void) unlinkat(rotate->dir_fd, tmp, 0);
                return r;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Is the directory one of the allowlist's, or below one? */
static bool allowed(const LogRotate *rotate) {
        char link[64], dir[PATH_MAX];
        ssize_t len;

        if (rotate->n_allowlist == 0)
                return true;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", rotate->dir_fd);
        len = readlink(link, dir, sizeof(dir) - 1);
        if (len < 0)
                return false;
        dir[len] = '\0';

        for (size_t i = 0; i < rotate->n_allowlist; i++) {
                _cleanup_free_ char *real = rotate->allowlist[i][0] ? realpath(rotate->allowlist[i], NULL) : NULL;
                size_t n = real ? strlen(real) : 0;

                if (n == 1)
                        return true;
                if (n > 0 && strncmp(dir, real, n) == 0 && (dir[n] == '\0' || dir[n] == '/'))
                        return true;
        }
        return false;
}

static bool has_dotdot(const char *path) {
        for (const char *part = path;; part++) {
                const char *slash = strchrnul(part, '/');

                if (slash - part == 2 && part[0] == '.' && part[1] == '.')
                        return true;
                if (*slash == '\0')
                        return false;
                part = slash;
        }
}

/* May what is at PATH be renamed? */
static int check(const LogRotate *rotate, int fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct stat dir, there;

        if (has_dotdot(rotate->path))
                return -EINVAL;
        if (fstatat(rotate->dir_fd, "", &dir, AT_EMPTY_PATH) < 0 ||
            fstatat(rotate->dir_fd, rotate->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISLNK(there.st_mode))
                return -ELOOP;
        if ((dir.st_mode & S_IWOTH) && !(dir.st_mode & S_ISVTX))
                return -EPERM;
        if (!allowed(rotate))
                return -EXDEV;
        if (!logrotate_in_place(rotate, fd))
                return -ESTALE;
        return fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
}

/* Makes room at PATH.1. Ours are numbered without a gap, so the search ends at the first number that is free. */
static int make_room(const LogRotate *rotate) {
        char from[NAME_SIZE], to[NAME_SIZE];
        uint64_t last = 0;
        int r;

        for (; last < rotate->max_files; last++) {
                r = numbered(rotate, last + 1, from);
                if (r < 0)
                        return r;
                if (faccessat(rotate->dir_fd, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                        break;
        }

        if (last == rotate->max_files) {
                if (unlinkat(rotate->dir_fd, from, 0) < 0)
                        return -errno;
                last--;
        }
        for (; last > 0; last--) {
                if (numbered(rotate, last, from) < 0 || numbered(rotate, last + 1, to) < 0)
                        return -ENAMETOOLONG;
                if (renameat(rotate->dir_fd, from, rotate->dir_fd, to) < 0)
                        return -errno;
        }
        return 0;
}

/* An empty PATH.new. One that an interrupted rotation left is empty as well. */
static int make_new(const LogRotate *rotate, const char *name, int *ret_fd) {
        int fd = -EBADF;

        for (int attempt = 0; fd < 0 && attempt < 2; attempt++) {
                if (attempt > 0)
                        (void) unlinkat(rotate->dir_fd, name, 0);
                fd = openat(rotate->dir_fd, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, LOGROTATE_MODE);
                if (fd < 0 && errno != EEXIST)
                        return -errno;
        }
        if (fd < 0)
                return -EEXIST;
        *ret_fd = fd;
        return 0;
}

/* PATH becomes PATH.1 and PATH.new becomes PATH: by a second name for the old one, so that PATH is never missing. */
static int swap(const LogRotate *rotate, const char *new) {
        char first[NAME_SIZE];
        int r;

        r = numbered(rotate, 1, first);
        if (r < 0)
                return r;
        if (linkat(rotate->dir_fd, rotate->name, rotate->dir_fd, first, 0) < 0 &&
            renameat(rotate->dir_fd, rotate->name, rotate->dir_fd, first) < 0)
                return -errno;
        if (renameat(rotate->dir_fd, new, rotate->dir_fd, rotate->name) < 0) {
                r = -errno;
                if (renameat(rotate->dir_fd, first, rotate->dir_fd, rotate->name) == 0)
                        (void) unlinkat(rotate->dir_fd, first, 0); /* of two names of one file, rename() leaves both */
                return r;
        }
        return 0;
}

int logrotate_shift(const LogRotate *rotate, int fd, int *ret_fd) {
        struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
        _cleanup_close_ int new_fd = -EBADF;
        char new[NAME_SIZE];
        int r;

        r = suffixed(rotate, ".new", new);
        if (r < 0)
                return r;
        r = check(rotate, fd);
        if (r < 0)
                return r;

        r = make_new(rotate, new, &new_fd);
        if (r >= 0) {
                r = make_room(rotate);
                if (r >= 0)
                        r = swap(rotate, new);
                if (r < 0)
                        (void) unlinkat(rotate->dir_fd, new, 0);
        }
        (void) fcntl(fd, F_SETLK, &unlock);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(new_fd);
        return 0;
}
