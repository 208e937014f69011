#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "caller.h"
#include "report.h"
#include "syncmessage.h"
#include "util.h"

#define START_MESSAGE_MAX 8192

const char *caller_key(bool api_version, bool exec) {
        if (api_version)
                return "data";
        return exec ? "exit_code" : "pid";
}

/* The descriptor that the variable @name says, -1 where it is not set. */
static int fd_from_environment(const char *name, int *ret) {
        const char *value = getenv(name);
        char *end;
        long fd;

        *ret = -1;
        if (!value)
                return 0;

        errno = 0;
        fd = strtol(value, &end, 10);
        if (errno != 0 || *value == '\0' || *end != '\0' || fd < 0 || fd > INT_MAX) {
                report_error("unable to parse %s %s", name, strerrordesc_np(EINVAL));
                return -EINVAL;
        }
        if (fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0) {
                int error = -errno;

                report_error("unable to make %s CLOEXEC %s", name, strerrordesc_np(-error));
                return error;
        }
        *ret = (int) fd;
        return 0;
}

static void close_pipe(Caller *caller, int *fd) {
        inherited_forget(caller->inherited, *fd);
        *fd = close_fd(*fd);
}

int caller_wait(Caller *caller, bool again) {
        char message[START_MESSAGE_MAX];
        ssize_t n;
        int r;

        r = fd_from_environment("_OCI_STARTPIPE", &caller->start_fd);
        if (r < 0 || caller->start_fd <= 0)
                return r;

        do
                n = read(caller->start_fd, message, sizeof(message));
        while (n < 0 && errno == EINTR);
        if (n < 0) {
                r = -errno;
                report_error("start-pipe read failed %s", strerrordesc_np(-r));
                return r;
        }

        if (!again)
                close_pipe(caller, &caller->start_fd);
        return 0;
}

void caller_started(Caller *caller) {
        if (caller->start_fd > 0)
                close_pipe(caller, &caller->start_fd);
}

int caller_open(Caller *caller, bool attach) {
        int r;

        r = fd_from_environment("_OCI_SYNCPIPE", &caller->sync_fd);
        if (r < 0 || !attach)
                return r;

        r = fd_from_environment("_OCI_ATTACHPIPE", &caller->attach_fd);
        if (r == 0 && caller->attach_fd < 0) {
                report_error("--attach specified but _OCI_ATTACHPIPE was not");
                return -EINVAL;
        }
        return r;
}

static int tell(Caller *caller, int *fd, int number, const char *text, size_t len) {
        _cleanup_free_ char *message = NULL;
        size_t size;
        int r;

        if (*fd < 0)
                return 0;

        r = syncmessage_format(caller->key, number, text, len, &message, &size);
        if (r < 0)
                r = syncmessage_format(caller->key, number, NULL, 0, &message, &size);
        if (r == 0)
                r = util_write_all(*fd, message, size);
        if (r == -EPIPE) {
                close_pipe(caller, fd);
                return 0;
        }
        if (r < 0)
                report_error("Unable to send container stderr message to parent %s", strerrordesc_np(-r));
        return r;
}

int caller_tell(Caller *caller, int number, const char *text, size_t len) {
        assert(caller->key);

        return tell(caller, &caller->sync_fd, number, text, len);
}

int caller_tell_attach(Caller *caller) {
        assert(caller->key);

        return tell(caller, &caller->attach_fd, 0, NULL, 0);
}
