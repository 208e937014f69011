#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "oomlog.h"

#define KMSG        "/dev/kmsg"
#define CGROUP_NS   "/proc/self/ns/cgroup"
#define CGROUP_INIT 0xEFFFFFFBU /* the kernel's number of the first cgroup namespace (PROC_CGROUP_INIT_INO) */

static const char *after(const char *s, const char *end, const char *what) {
        const char *hit = s < end ? memmem(s, (size_t) (end - s), what, strlen(what)) : NULL;

        return hit ? hit + strlen(what) : NULL;
}

static int digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Does the text at @s begin with @path and a comma? /dev/kmsg writes some characters as \xNN, a backslash among them.
 */
static bool is_path(const char *s, const char *end, const char *path) {
        for (; *path; path++) {
                char c;

                if (s >= end)
                        return false;
                c = *s++;
                if (c == '\\' && end - s >= 3 && s[0] == 'x' && digit(s[1]) >= 0 && digit(s[2]) >= 0) {
                        c = (char) (digit(s[1]) * 16 + digit(s[2]));
                        s += 3;
                }
                if (c != *path)
                        return false;
        }
        return s < end && *s == ',';
}

OomlogRecord oomlog_parse(const char *record, size_t len, const char *path) {
        const char *end = record + len, *text, *eol, *at;
        uint64_t priority;

        at = len > 0 ? memchr(record, ',', len) : NULL;
        text = after(record, end, ";");
        /* Facility 0 is the kernel; what processes write has another one. */
        if (!at || !text || util_parse_u64(record, (size_t) (at - record), &priority) < 0 || priority > 7)
                return OOMLOG_OTHER;
        eol = memchr(text, '\n', (size_t) (end - text));
        if (eol)
                end = eol;

        if (after(text, end, "oom_kill_process: ") && after(text, end, "callbacks suppressed"))
                return OOMLOG_SUPPRESSED;
        if (after(text, end, "oom-kill:") != text + strlen("oom-kill:"))
                return OOMLOG_OTHER;
        at = after(text, end, ",task_memcg=");
        return at && is_path(at, end, path) ? OOMLOG_KILL : OOMLOG_KILL_OTHER;
}

int oomlog_open(void) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (stat(CGROUP_NS, &st) < 0)
                return -errno;
        if (st.st_ino != CGROUP_INIT)
                return -EXDEV;
        fd = open(KMSG, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (lseek(fd, 0, SEEK_END) < 0)
                return -errno;
        return TAKE_FD(fd);
}

void oomlog_look(int fd, const char *path, OomlogLook *ret) {
        OomlogLook look = { .complete = true };
        char record[OOMLOG_RECORD_MAX];

        for (size_t i = 0;; i++) {
                ssize_t n = i < OOMLOG_RECORDS_MAX ? read(fd, record, sizeof(record)) : -1;

                /* EPIPE: records were overwritten before they were read; the next one follows. */
                if (n < 0 && i < OOMLOG_RECORDS_MAX && errno == EPIPE) {
                        look.complete = false;
                        continue;
                }
                if (n <= 0) {
                        look.complete = look.complete && i < OOMLOG_RECORDS_MAX && n < 0 && errno == EAGAIN;
                        break;
                }
                switch (oomlog_parse(record, (size_t) n, path)) {
                case OOMLOG_KILL:
                        look.killed = true;
                        break;
                case OOMLOG_KILL_OTHER:
                        look.others++;
                        break;
                case OOMLOG_SUPPRESSED:
                        look.complete = false;
                        break;
                case OOMLOG_OTHER:
                        break;
                }
        }
        *ret = look;
}
