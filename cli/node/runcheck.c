#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "filelimit.h"
#include "runcheck.h"

extern char **environ;

int runcheck_find(const char *name, char **ret) {
        const char *path = getenv("PATH");

        if (strchr(name, '/')) {
                if (access(name, X_OK) < 0)
                        return -ENOENT;
                *ret = strdup(name);
                return *ret ? 0 : -ENOMEM;
        }
        for (const char *dir = path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";;) {
                size_t n = strcspn(dir, ":");
                _cleanup_free_ char *file = NULL;

                if (asprintf(&file, "%.*s/%s", (int) n, dir, name) < 0) {
                        file = NULL;
                        return -ENOMEM;
                }
                if (n > 0 && access(file, X_OK) >= 0) {
                        *ret = TAKE_PTR(file);
                        return 0;
                }
                if (!dir[n])
                        return -ENOENT;
                dir += n + 1;
        }
}

/* What this process ignores, the command does not. */
static int set_signals(posix_spawnattr_t *attributes) {
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        if (filelimit_was_default())
                (void) sigaddset(&set, SIGXFSZ);
        r = posix_spawnattr_setsigdefault(attributes, &set);
        return r != 0 ? r : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF);
}

static int start(char *const argv[], int out_fd, int err_fd, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int r;

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                (void) posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        if ((r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) == 0 &&
            (r = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO)) == 0 &&
            (r = posix_spawn_file_actions_adddup2(&actions, err_fd, STDERR_FILENO)) == 0 &&
            (r = set_signals(&attributes)) == 0)
                r = posix_spawnp(ret, argv[0], &actions, &attributes, argv, environ);
        (void) posix_spawnattr_destroy(&attributes);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static int wait_for(pid_t pid, int *ret_status) {
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, pid, 0);
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        int r = 0, n;

        if (fd < 0)
                return -errno;
        do
                n = poll(&pollfd, 1, RUNCHECK_TIMEOUT_MS);
        while (n < 0 && errno == EINTR);
        if (n <= 0) {
                r = n < 0 ? -errno : -ETIMEDOUT;
                (void) kill(pid, SIGKILL);
        }
        while (waitpid(pid, ret_status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return r;
}

static int read_back(int fd, Bytes *ret) {
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        return util_read_fd(fd, BYTES_FILE_MAX, &ret->p, &ret->n);
}

int runcheck_run(char *const argv[], Bytes *ret_out, Bytes *ret_err) {
        _cleanup_close_ int out_fd = memfd_create("out", MFD_CLOEXEC), err_fd = memfd_create("err", MFD_CLOEXEC);
        _cleanup_bytes_ Bytes out = BYTES_NULL, err = BYTES_NULL;
        int r, status;
        pid_t pid;

        if (out_fd < 0 || err_fd < 0)
                return -errno;
        r = start(argv, out_fd, err_fd, &pid);
        if (r < 0)
                return r;
        r = wait_for(pid, &status);
        if (r < 0)
                return r;
        if ((r = read_back(out_fd, &out)) < 0 || (r = read_back(err_fd, &err)) < 0)
                return r;
        *ret_out = TAKE(out, ((Bytes) BYTES_NULL));
        *ret_err = TAKE(err, ((Bytes) BYTES_NULL));
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
