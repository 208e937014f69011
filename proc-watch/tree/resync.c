#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "clk.h"
#include "resync.h"

#define STAT_MAX         1024
#define CMDLINE_MAX      (64 * 1024)
#define STAT_FIELD_START 22                   /* starttime, counted from 1 … */
#define TICK_NS          (10 * NSEC_PER_MSEC) /* … in units of USER_HZ, which is 100 (proc(5)) */

int resync_parse_stat(const char *s, size_t len, char ret_comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns) {
        const char *end = s + len, *open, *close, *at;
        uint64_t ticks;

        assert(s || len == 0);

        /* A name may hold anything, brackets included: it ends at the last one. */
        open = memchr(s, '(', len);
        close = memrchr(s, ')', len);
        if (!open || !close || close < open || close - open - 1 >= EVENT_COMM_SIZE)
                return -EBADMSG;

        at = close + 1;
        for (int field = 2; field < STAT_FIELD_START; field++) {
                at = at < end ? memchr(at, ' ', (size_t) (end - at)) : NULL;
                if (!at)
                        return -EBADMSG;
                at++;
        }
        len = 0;
        while (at + len < end && isdigit((unsigned char) at[len]))
                len++;
        if (util_parse_u64(at, len, &ticks) < 0 || ticks > UINT64_MAX / TICK_NS)
                return -EBADMSG;

        memset(ret_comm, 0, EVENT_COMM_SIZE);
        memcpy(ret_comm, open + 1, (size_t) (close - open - 1));
        *ret_start_ns = ticks * TICK_NS;
        return 0;
}

static int read_stat(int process_fd, char comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns) {
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        r = util_read_file_at(process_fd, "stat", STAT_MAX, &text, &len);
        return r < 0 ? r : resync_parse_stat(text, len, comm, ret_start_ns);
}

static int open_process(uint32_t pid) {
        char name[32];
        int fd;

        (void) snprintf(name, sizeof(name), "/proc/%u", pid);
        fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

bool resync_gone(uint32_t pid, uint64_t start_ns) {
        _cleanup_close_ int fd = open_process(pid);
        char comm[EVENT_COMM_SIZE];
        uint64_t now_ns;
        int r;

        if (fd < 0)
                return fd == -ENOENT;
        r = read_stat(fd, comm, &now_ns);
        return r == -ENOENT || r == -ESRCH || (r == 0 && now_ns / TICK_NS != start_ns / TICK_NS);
}

int resync_complete(Event *event, const char *file, char **ret, size_t *ret_size) {
        _cleanup_free_ char *data = NULL, *args = NULL;
        _cleanup_close_ int fd = -EBADF;
        char comm[EVENT_COMM_SIZE];
        size_t n_args, n_file;
        uint64_t start_ns;
        int r;

        assert(event);
        assert(file);
        assert(ret);
        assert(ret_size);

        /* Through one descriptor, which stays with this very process whoever gets its pid. */
        fd = open_process(event->pid);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        r = read_stat(fd, comm, &start_ns);
        if (r < 0)
                return r;
        if (start_ns / TICK_NS != event->start_ns / TICK_NS)
                return -ESRCH;
        r = util_read_file_at(fd, "cmdline", CMDLINE_MAX, &args, &n_args);
        if (r < 0)
                return r;

        n_file = strlen(file) + 1;
        n_args = MIN(n_args, (size_t) EVENT_ARGS_MAX);
        data = malloc(n_file + n_args);
        if (!data)
                return -ENOMEM;
        memcpy(data, file, n_file);
        memcpy(data + n_file, args, n_args);
        event->file_size = (uint16_t) n_file;
        event->args_size = (uint16_t) n_args;
        *ret = TAKE_PTR(data);
        *ret_size = n_file + n_args;
        return 0;
}
