#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "contextfile.h"
#include "dirowner.h"

#define DIR_MODE 02750

static const struct {
        const char *dir;
        unsigned max;
} kinds[_CONTEXT_KIND_MAX] = {
        [CONTEXT_LIVE] = { "live", CONTEXT_LIVE_MAX },
        [CONTEXT_START] = { "start", CONTEXT_START_MAX },
        [CONTEXT_HOOK] = { "hook", CONTEXT_START_MAX },
};

const char *contextfile_dir(ContextKind kind) {
        return kinds[kind].dir;
}

unsigned contextfile_max(ContextKind kind) {
        return kinds[kind].max;
}

int contextfile_open_dir(int dir_fd, const char *name, bool create) {
        _cleanup_close_ int fd = -EBADF;
        bool created = false;
        int r;

        if (create) {
                created = mkdirat(dir_fd, name, 0750) == 0;
                if (!created && errno != EEXIST)
                        return -errno;
        }

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        /* mkdir(2) ignores setgid and obeys the umask. */
        if (created && fchmod(fd, DIR_MODE) < 0)
                return -errno;

        r = dirowner_check(fd, DIROWNER_PRIVATE, 0);
        return r < 0 ? r : TAKE_FD(fd);
}

void context_refusal(Context *context, int state_fd, char *ret) {
        _cleanup_close_ int fd = openat(state_fd, "context", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        counters_add(context->counters, context->producer, COUNTERS_UNTRUSTED, 1);
        if (dirowner_check(state_fd, DIROWNER_STICKY, 0) < 0) {
                dirowner_text(state_fd, ".", ret);
                return;
        }
        for (size_t i = 0; i < _CONTEXT_KIND_MAX && fd >= 0 && dirowner_check(fd, DIROWNER_PRIVATE, 0) == 0; i++) {
                int kind_fd = contextfile_open_dir(fd, kinds[i].dir, /* create= */ false);

                close_fd(kind_fd);
                if (kind_fd == -EPERM) {
                        dirowner_text(fd, kinds[i].dir, ret);
                        return;
                }
        }
        dirowner_text(state_fd, "context", ret);
}

int contextfile_read_small(int dir_fd, const char *name, char *ret, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        size_t len = 0;

        /* A FIFO must not hold us up. */
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        for (;;) {
                ssize_t n = read(fd, ret + len, size - 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t) n;
                if (len == size - 1)
                        break;
        }

        ret[len] = '\0';
        return (int) len;
}

int contextfile_format(const ContextRecord *record, char text[static CONTEXT_FILE_MAX + 1]) {
        int len;

        len = context_format(record, text, CONTEXT_FILE_MAX + 1);
        if (len == -EMSGSIZE) {
                ContextRecord less = *record;

                /* Only what nobody looks for can be so long that the rest does not fit. */
                less.identity.image[0] = '\0';
                less.identity.runtime_handler[0] = '\0';
                len = context_format(&less, text, CONTEXT_FILE_MAX + 1);
        }
        return len;
}

int contextfile_write(Context *context, ContextKind kind, const char *name, const ContextRecord *record) {
        _cleanup_close_ int fd = -EBADF;
        char text[CONTEXT_FILE_MAX + 1], dot_name[CONTEXT_NAME_MAX + 48];
        int dir_fd = context->kind_fd[kind], len, r;

        if (dir_fd < 0)
                return -ENOENT;

        len = contextfile_format(record, text);
        if (len < 0)
                return len;

        (void) snprintf(dot_name, sizeof(dot_name), ".%s.%" PRIu32 ".%" PRIx64, name, context->pid, record->seq);
        fd = openat(dir_fd, dot_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0 && errno == EEXIST && unlinkat(dir_fd, dot_name, 0) == 0)
                /* Left by a process that had our pid. */
                fd = openat(dir_fd, dot_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0)
                return -errno;

        /* The umask may be a runtime's; whom it keeps out misses the file, that is all. */
        (void) fchmod(fd, 0640);
        r = util_write_all(fd, text, (size_t) len);
        if (r == 0 && renameat(dir_fd, dot_name, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, dot_name, 0);
        return r;
}

int contextfile_read(const Context *context, ContextKind kind, const char *name, ContextRecord *ret) {
        char text[CONTEXT_FILE_MAX + 2];
        int r;

        if (context->kind_fd[kind] < 0)
                return -ENOENT;

        r = contextfile_read_small(context->kind_fd[kind], name, text, sizeof(text));
        if (r < 0)
                return r;

        r = context_parse(text, (size_t) r, ret);
        if (r < 0)
                counters_add(context->counters, context->producer, COUNTERS_INPUT_BAD, 1);
        return r;
}

DIR *contextfile_open_kind(const Context *context, ContextKind kind, int *ret_error) {
        int fd;
        DIR *dir;

        *ret_error = 0;
        if (context->kind_fd[kind] < 0)
                return NULL;

        fd = openat(context->kind_fd[kind], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                *ret_error = errno == ENOENT ? 0 : -errno;
                return NULL;
        }

        dir = fdopendir(fd);
        if (!dir) {
                *ret_error = -errno;
                close_fd(fd);
        }
        return dir;
}

bool contextfile_young_seen(const ContextYoungs *young, const ContextRecord *record) {
        for (size_t i = 0; i < young->n_seen; i++)
                if (record->seq > 0 && young->seen[i].pid == record->pid && young->seen[i].seq == record->seq)
                        return true;
        return false;
}

static int on_young(int slot, const char *text, size_t len, void *userdata) {
        ContextYoungs *young = userdata;
        ContextRecord record;

        if (context_parse(text, len, &record) < 0) {
                counters_add(young->context->counters, young->context->producer, COUNTERS_INPUT_BAD, 1);
                return 0;
        }
        young->seen[young->n_seen].pid = record.pid;
        young->seen[young->n_seen++].seq = record.seq;
        return young->fn(slot, &record, young->userdata);
}

int contextfile_each_young(const Context *context, int (*fn)(int slot, const ContextRecord *record, void *userdata),
                           void *userdata, ContextYoungs *ret) {
        *ret = (ContextYoungs){ .context = context, .fn = fn, .userdata = userdata };
        return context->kind_fd[CONTEXT_LIVE] < 0 ? 0
                                                  : contextyoung_each(context->kind_fd[CONTEXT_LIVE], on_young, ret);
}
