#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include "clk.h"
#include "dirowner.h"
#include "spool.h"

#define DIR_NAME       "spool"
#define SUFFIX         ".otlp"
#define REOPEN_EACH_NS NSEC_PER_SEC

/* A tmpfs that holds nothing but the spool is bounded by the kernel; /run itself is not ours to fill. */
static int is_own_fs(int state_fd, int dir_fd, bool *ret) {
        struct stat state, dir;
        struct statfs fs;

        if (fstatfs(dir_fd, &fs) < 0)
                return -errno;
        if (fs.f_type != TMPFS_MAGIC) {
                *ret = false;
                return 0;
        }
        if (fstat(state_fd, &state) < 0 || fstat(dir_fd, &dir) < 0)
                return -errno;

        *ret = state.st_dev != dir.st_dev;
        return 0;
}

/* Opens the directory in place of what @spool has open. -ENOENT if there is none, -EPERM if it is not to be trusted. */
static int spool_open(Spool *spool) {
        _cleanup_close_ int fd = -EBADF;
        struct stat state;
        int r;

        spool->tried_ns = clk_monotonic();

        fd = openat(spool->state_fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        if (fstat(spool->state_fd, &state) < 0)
                return -errno;
        r = dirowner_check(fd, DIROWNER_GROUP, state.st_gid);
        if (r < 0)
                return r;
        r = is_own_fs(spool->state_fd, fd, &spool->own_fs);
        if (r < 0)
                return r;

        close_fd(spool->dir_fd);
        spool->dir_fd = TAKE_FD(fd);
        return 0;
}

int spool_init(Spool *spool, int state_fd, CountersProducer producer, Counters *counters) {
        int r;

        assert(spool);

        *spool = (Spool){
                .dir_fd = -EBADF,
                .state_fd = state_fd,
                .producer = producer,
                .counters = counters,
        };

        r = spool_open(spool);
        return r == -ENOENT ? 0 : r;
}

void spool_deinit(Spool *spool) {
        if (spool)
                spool->dir_fd = close_fd(spool->dir_fd);
}

bool spool_wanted(Spool *spool, int state_fd) {
        assert(spool);

        if (spool->dir_fd >= 0)
                return true;

        if (clk_monotonic() - spool->tried_ns < REOPEN_EACH_NS)
                return false;

        spool->state_fd = state_fd;
        return spool_open(spool) == 0;
}

/* Divided, not multiplied: the numbers are the file system's and may be as large as they like; 0 is "does not say". */
static bool below_bound(uint64_t n_free, uint64_t n) {
        const uint64_t parts = 100 / SPOOL_FREE_PERCENT;

        return n_free < n / parts + (n % parts > 0);
}

static int check_free(int dir_fd) {
        struct statfs fs;

        if (fstatfs(dir_fd, &fs) < 0)
                return -errno;

        if (below_bound(fs.f_bavail, fs.f_blocks) || below_bound(fs.f_ffree, fs.f_files))
                return -ENOSPC;
        return 0;
}

static int write_file(const Spool *spool, const char *name, const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        char dot_name[SPOOL_NAME_MAX + 2];
        int r;

        (void) snprintf(dot_name, sizeof(dot_name), ".%s", name);

        if (!spool->own_fs) {
                r = check_free(spool->dir_fd);
                if (r < 0)
                        return r;
        }

        fd = openat(spool->dir_fd, dot_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0)
                return -errno;

        /* The umask may be a runtime's, and the reader is another user. */
        r = fchmod(fd, 0640) < 0 ? -errno : util_write_all(fd, data, size);
        if (r == 0 && renameat2(spool->dir_fd, dot_name, spool->dir_fd, name, RENAME_NOREPLACE) < 0) {
                r = -errno;

                /* Not every file system can refuse; time, pid and number make the name unique anyway. */
                if (r == -EINVAL || r == -ENOSYS)
                        r = renameat(spool->dir_fd, dot_name, spool->dir_fd, name) < 0 ? -errno : 0;
        }
        if (r < 0)
                (void) unlinkat(spool->dir_fd, dot_name, 0);
        return r;
}

static CountersId drop_reason(int error) {
        switch (error) {
        case -ENOSPC:
        case -EDQUOT:
                return COUNTERS_DROP_NO_SPACE;
        case -ENOMEM:
                return COUNTERS_DROP_NO_MEMORY;
        case -EFBIG:
                return COUNTERS_DROP_TOO_LARGE;
        default:
                return COUNTERS_DROP_IO;
        }
}

static int write_encoded(Spool *spool, const uint8_t *data, size_t size) {
        char name[SPOOL_NAME_MAX + 1];
        int r;

        (void) snprintf(name, sizeof(name), SPOOL_VERSION "-%020" PRIu64 "-%d-%" PRIx64 SUFFIX, clk_realtime(),
                        (int) getpid(), spool->seq++);

        r = write_file(spool, name, data, size);
        if (r != -ENOENT)
                return r;

        /* The directory was removed under us; perhaps there is a new one. */
        r = spool_open(spool);
        if (r == -ENOENT) {
                spool_deinit(spool);
                return r;
        }
        return r < 0 ? r : write_file(spool, name, data, size);
}

int spool_write(Spool *spool, const char *service_name, Span *const *spans, size_t n) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        assert(spool);
        assert(service_name);
        assert(spans || n == 0);

        if (spool->dir_fd < 0 || n == 0)
                return 0;

        r = span_encode(service_name, spans, n, &data, &size);
        if (r == 0 && size > SPOOL_FILE_MAX) {
                if (n > 1) {
                        int second;

                        free(TAKE_PTR(data));
                        r = spool_write(spool, service_name, spans, n / 2);
                        second = spool_write(spool, service_name, spans + n / 2, n - n / 2);
                        return r < 0 ? r : second;
                }
                r = -EFBIG;
        }
        if (r == 0)
                r = write_encoded(spool, data, size);

        counters_add(spool->counters, spool->producer, r < 0 ? drop_reason(r) : COUNTERS_SPANS_WRITTEN, n);
        return r;
}

int spool_create(int state_fd) {
        _cleanup_close_ int fd = -EBADF;

        if (mkdirat(state_fd, DIR_NAME, 0770) < 0)
                return errno == EEXIST ? 0 : -errno;

        fd = openat(state_fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        /* mkdir(2) honours neither setgid nor, under a umask, the group's bits. */
        return fchmod(fd, 02770) < 0 ? -errno : 0;
}

/* Skips the characters of @set at *@s, @min to @max of them. */
static bool skip_span(const char **s, const char *set, size_t min, size_t max) {
        size_t n = strspn(*s, set);

        *s += n;
        return n >= min && n <= max;
}

static bool skip_string(const char **s, const char *string) {
        size_t len = strlen(string);

        if (strncmp(*s, string, len) != 0)
                return false;
        *s += len;
        return true;
}

bool spool_name_valid(const char *name) {
        static const char digits[] = "0123456789";

        assert(name);

        return skip_string(&name, SPOOL_VERSION "-") && skip_span(&name, digits, 20, 20) && skip_string(&name, "-") &&
               skip_span(&name, digits, 1, 10) && skip_string(&name, "-") && skip_span(&name, UTIL_HEX_DIGITS, 1, 16) &&
               strcmp(name, SUFFIX) == 0;
}
