#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "inherited.h"
#include "util.h"

#define DIRECTORY_SIZE 2048 /* bytes of entries read at once; opendir(3) takes 32 KiB from the heap */

static int add(Inherited *inherited, int fd) {
        if ((inherited->n & (inherited->n - 1)) == 0) {
                int *fds = reallocarray(inherited->fds, inherited->n > 0 ? 2 * inherited->n : 1, sizeof(*fds));

                if (!fds)
                        return -ENOMEM;
                inherited->fds = fds;
        }
        inherited->fds[inherited->n++] = fd;
        return 0;
}

int inherited_init(Inherited *inherited) {
        _cleanup_close_ int dir_fd = -EBADF;
        union {
                struct dirent64 align;
                char bytes[DIRECTORY_SIZE];
        } entries;
        ssize_t n;

        assert(inherited);

        *inherited = (Inherited){};
        dir_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;

        while ((n = getdents64(dir_fd, entries.bytes, sizeof(entries.bytes))) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *entry = (const void *) (entries.bytes + at);
                        uint64_t fd;
                        int r;

                        at += entry->d_reclen;
                        if (util_parse_u64(entry->d_name, strlen(entry->d_name), &fd) < 0 || fd <= STDERR_FILENO ||
                            (int) fd == dir_fd)
                                continue;
                        r = add(inherited, (int) fd);
                        if (r < 0) {
                                inherited_deinit(inherited);
                                return r;
                        }
                }
        return n < 0 ? -errno : 0;
}

void inherited_close(Inherited *inherited, int keep_fd) {
        for (size_t i = 0; i < inherited->n; i++)
                if (inherited->fds[i] != keep_fd)
                        (void) close_fd(inherited->fds[i]);
        inherited_deinit(inherited);
}

void inherited_forget(Inherited *inherited, int fd) {
        for (size_t i = 0; i < inherited->n; i++)
                if (inherited->fds[i] == fd)
                        inherited->fds[i] = -EBADF;
}

void inherited_deinit(Inherited *inherited) {
        free(inherited->fds);
        *inherited = (Inherited){};
}
