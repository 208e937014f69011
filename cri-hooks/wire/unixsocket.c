#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "unixsocket.h"
#include "util.h"

int unixsocket_address(const char *path, struct sockaddr_un *ret) {
        size_t n;

        assert(path);
        assert(ret);

        n = strlen(path);
        if (n >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret->sun_path, path, n);
        return 0;
}

int unixsocket_listen(const struct sockaddr_un *address, int type, int backlog) {
        _cleanup_close_ int fd = -EBADF;
        mode_t mask;
        int r;

        assert(address);

        fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        mask = umask(0177);
        r = bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 ? -errno : 0;
        (void) umask(mask);
        if (r < 0)
                return r;
        return listen(fd, backlog) < 0 ? -errno : TAKE_FD(fd);
}

int unixsocket_file(const char *path, UnixSocketFile *ret) {
        struct stat st;

        assert(path);
        assert(ret);

        if (lstat(path, &st) < 0)
                return -errno;
        *ret = (UnixSocketFile){ .dev = st.st_dev, .ino = st.st_ino };
        return 0;
}

void unixsocket_remove(const char *path, const UnixSocketFile *file) {
        struct stat st;

        assert(path);
        assert(file);

        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == file->dev && st.st_ino == file->ino)
                (void) unlink(path);
}
