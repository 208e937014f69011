#include <fcntl.h>
#include <sys/stat.h>
#include "dirowner.h"
#include "log.h"
#include "statedir.h"

int statedir_make(const char *path, mode_t mode, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        bool made;

        made = mkdir(path, mode & 0777) == 0;
        if (!made && errno != EEXIST)
                return -errno;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        /* Neither setgid nor, under a umask, the group's bits come from mkdir(2). */
        if (made && fchmod(fd, mode) < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int statedir_open(StateDir *state, const char *path, Loop *loop, CollectFn on_change) {
        char refusal[DIROWNER_TEXT_MAX];
        int r;

        *state = (StateDir) STATEDIR_NULL;
        state->path = path;

        r = statedir_make(path, 0755, &state->fd);
        if (r < 0)
                return log_error_errno(r, "%s: %m", path);

        state->counters = counters_open(state->fd, /* create= */ true);
        if (!state->counters)
                return log_error_errno(-ENOMEM, "%m");
        if (!counters_shared(state->counters))
                log_warning("%s/counters cannot be used: what is counted here is seen by nobody", path);

        r = collect_init(&state->collect, loop, state->fd, on_change);
        if (r == -EBUSY)
                return log_error_errno(r, "%s/spool: another podspand collects it", path);
        if (r == -EPERM) {
                counters_add(state->counters, COUNTERS_AGENT, COUNTERS_UNTRUSTED, 1);
                dirowner_text(state->fd, "spool", refusal);
                return log_error_errno(r, "The spool is not collected: %s", refusal);
        }
        if (r < 0)
                return log_error_errno(r, "%s/spool cannot be used: %m", path);
        return 0;
}

void statedir_close(StateDir *state) {
        collect_deinit(&state->collect);
        state->counters = counters_free(state->counters);
        state->fd = close_fd(state->fd);
}

bool statedir_current(const StateDir *state) {
        struct stat ours, there;

        return state->fd >= 0 && stat(state->path, &there) == 0 && fstat(state->fd, &ours) == 0 &&
               ours.st_dev == there.st_dev && ours.st_ino == there.st_ino && collect_current(&state->collect);
}
