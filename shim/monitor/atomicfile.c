#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "atomicfile.h"
#include "util.h"

#define PID_FILE_MAX 64
#define SUFFIX_SIZE  6

static int write_at(int dir_fd, const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        uint8_t random[SUFFIX_SIZE];
        char suffix[2 * SUFFIX_SIZE + 1], temporary[NAME_MAX + 1];
        int r;

        /* Not from a counter: two monitors may write the same file, and one may have died here before. */
        r = util_random(random, sizeof(random));
        if (r < 0)
                return r;
        util_hex_encode(random, sizeof(random), suffix);
        r = snprintf(temporary, sizeof(temporary), ".%.200s.%s", name, suffix);
        if (r < 0 || (size_t) r >= sizeof(temporary))
                return -ENAMETOOLONG;

        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;

        r = util_write_all(fd, data, size);
        if (r == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, temporary, 0);
        return r;
}

int atomicfile_write(const char *dir, const char *name, const void *data, size_t size) {
        _cleanup_close_ int dir_fd = -EBADF;

        assert(dir);
        assert(name);

        dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        return write_at(dir_fd, name, data, size);
}

int atomicfile_write_path(const char *path, const void *data, size_t size) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = NULL;

        if (!slash)
                return atomicfile_write(".", path, data, size);

        dir = strndup(path, slash == path ? 1 : (size_t) (slash - path));
        if (!dir)
                return -ENOMEM;
        return atomicfile_write(dir, slash + 1, data, size);
}

int atomicfile_parse_pid(const char *s, size_t len, pid_t *ret) {
        uint64_t number;

        assert(s || len == 0);
        assert(ret);

        while (len > 0 && (s[len - 1] == '\n' || s[len - 1] == '\r' || s[len - 1] == ' '))
                len--;
        if (util_parse_u64(s, len, &number) < 0 || number == 0 || number > INT_MAX)
                return -EBADMSG;

        *ret = (pid_t) number;
        return 0;
}

int atomicfile_read_pid(const char *path, pid_t *ret) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = util_read_fd(fd, PID_FILE_MAX, &text, &len);
        if (r < 0)
                return r == -EFBIG ? -EBADMSG : r;
        return atomicfile_parse_pid(text, len, ret);
}
