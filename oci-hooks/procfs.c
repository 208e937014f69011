#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "clk.h"
#include "procfs.h"
#include "util.h"

#define STAT_MAX 1024 /* 52 numbers and a name of 15 bytes */

/* Fields counted from the one after the name, which is the third. */
enum {
        FIELD_PPID = 4 - 3,
        FIELD_START = 22 - 3,
};

int procfs_parse_stat(const char *s, size_t len, ProcfsProcess *ret) {
        const char *end = s + len, *p, *open;
        uint64_t pid, ppid = 0, start = 0;

        assert(s || len == 0);
        assert(ret);

        open = memchr(s, '(', len);
        /* The name may hold parentheses itself: it ends with the last one. */
        p = memrchr(s, ')', len);
        if (!open || !p || open == s || util_parse_u64(s, (size_t) (open - s - 1), &pid) < 0 || pid > INT32_MAX)
                return -EBADMSG;

        p++;
        for (unsigned i = 0; i <= FIELD_START; i++) {
                const char *field;

                if (p == end || *p != ' ')
                        return -EBADMSG;
                field = ++p;
                while (p < end && *p != ' ' && *p != '\n')
                        p++;
                /* A number that ends with the text may go on. */
                if (p == end)
                        return -EBADMSG;
                if (i == FIELD_PPID && (util_parse_u64(field, (size_t) (p - field), &ppid) < 0 || ppid > INT32_MAX))
                        return -EBADMSG;
                if (i == FIELD_START && util_parse_u64(field, (size_t) (p - field), &start) < 0)
                        return -EBADMSG;
        }

        *ret = (ProcfsProcess){
                .pid = (pid_t) pid,
                .ppid = (pid_t) ppid,
                .start_ticks = start,
        };
        return 0;
}

int procfs_get(pid_t pid, ProcfsProcess *ret) {
        _cleanup_close_ int fd = -EBADF;
        char path[32], text[STAT_MAX];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        n = read(fd, text, sizeof(text));
        if (n < 0)
                return -errno;
        return procfs_parse_stat(text, (size_t) n, ret);
}

int procfs_get_parent(ProcfsProcess *ret) {
        pid_t parent = getppid();
        char self[16];
        uint64_t pid;
        ssize_t n;

        n = readlink("/proc/self", self, sizeof(self));
        if (n < 0)
                return -errno;
        if (util_parse_u64(self, (size_t) n, &pid) < 0 || pid != (uint64_t) getpid() || parent == 0)
                return -EXDEV;
        return procfs_get(parent, ret);
}

uint64_t procfs_start_realtime(const ProcfsProcess *process) {
        uint64_t per_second = (uint64_t) sysconf(_SC_CLK_TCK), started, since_boot, now;
        struct timespec boot;

        assert(process);

        if (clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
                return 0;
        now = clk_realtime();

        since_boot = (uint64_t) boot.tv_sec * NSEC_PER_SEC + (uint64_t) boot.tv_nsec;
        started = process->start_ticks / per_second * NSEC_PER_SEC +
                  process->start_ticks % per_second * (NSEC_PER_SEC / per_second);
        return started > since_boot ? now : now - (since_boot - started);
}
