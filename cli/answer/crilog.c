#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "crilog.h"
#include "util.h"

/* The next word; false where it ends the line. */
static bool take_word(const char **s, size_t *n, const char **ret, size_t *ret_n) {
        const char *blank = memchr(*s, ' ', *n);

        if (!blank || blank == *s)
                return false;
        *ret = *s;
        *ret_n = (size_t) (blank - *s);
        *n -= *ret_n + 1;
        *s = blank + 1;
        return true;
}

bool crilog_parse(const char *s, size_t n, CrilogRecord *ret) {
        const char *time, *tag;
        size_t n_time, n_tag;
        CrilogRecord record = {};

        if (!take_word(&s, &n, &time, &n_time) || n_time < 20 || time[4] != '-' || !memchr(time, 'T', n_time) ||
            !take_word(&s, &n, &record.stream, &record.n_stream) || record.n_stream != 6 ||
            (memcmp(record.stream, "stdout", 6) != 0 && memcmp(record.stream, "stderr", 6) != 0) ||
            !take_word(&s, &n, &tag, &n_tag))
                return false;
        /* More tags may follow, behind colons. */
        if ((*tag != 'F' && *tag != 'P') || (n_tag > 1 && tag[1] != ':'))
                return false;
        record.partial = *tag == 'P';
        record.text = s;
        record.n_text = n;
        *ret = record;
        return true;
}

typedef struct Tail {
        Crilog log;
        size_t at;         /* where the next line goes: a ring */
        bool open[2];      /* the stream's last record was partial */
        size_t line_of[2]; /* … and its line */
} Tail;

static void add_record(Tail *tail, const CrilogRecord *record) {
        bool is_stderr = record->stream[3] == 'e';
        char *line;
        size_t n;

        if (!tail->open[is_stderr]) {
                tail->line_of[is_stderr] = tail->at;
                /* The other stream's line that goes on is overwritten: what follows of it begins anew. */
                if (tail->open[!is_stderr] && tail->line_of[!is_stderr] == tail->at)
                        tail->open[!is_stderr] = false;
                tail->log.lines[tail->at][0] = '\0';
                tail->at = (tail->at + 1) % CRILOG_LINES;
                tail->log.n = MIN(tail->log.n + 1, (size_t) CRILOG_LINES);
        }
        line = tail->log.lines[tail->line_of[is_stderr]];
        n = strlen(line);
        /* A NUL in it would hide the rest. */
        for (size_t i = 0; i < record->n_text && n + 1 < CRILOG_TEXT_MAX; i++)
                line[n++] = record->text[i] ?: ' ';
        line[n] = '\0';
        tail->open[is_stderr] = record->partial;
}

void crilog_tail(const char *s, size_t n, bool cut, Crilog *ret) {
        Tail tail = {};

        assert(ret);

        while (n > 0) {
                const char *end = memchr(s, '\n', n);
                size_t length = end ? (size_t) (end - s) : n;
                CrilogRecord record;

                if (!cut && crilog_parse(s, length, &record))
                        add_record(&tail, &record);
                cut = false;
                s += length + (end != NULL);
                n -= length + (end != NULL);
        }
        *ret = (Crilog){ .n = tail.log.n };
        for (size_t i = 0; i < tail.log.n; i++)
                memcpy(ret->lines[i], tail.log.lines[(tail.at + CRILOG_LINES - tail.log.n + i) % CRILOG_LINES],
                       sizeof(ret->lines[i]));
}

/* One component of a path that cannot lead elsewhere. */
static bool is_component(const char *s) {
        return *s && !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int open_at(int dir_fd, const char *name, int flags) {
        int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags);

        return fd < 0 ? -errno : fd;
}

static int read_tail(int fd, Crilog *ret) {
        _cleanup_free_ char *buffer = malloc(CRILOG_TAIL_MAX);
        struct stat st;
        ssize_t n;
        off_t from;

        if (!buffer)
                return -ENOMEM;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        from = st.st_size > (off_t) CRILOG_TAIL_MAX ? st.st_size - (off_t) CRILOG_TAIL_MAX : 0;
        n = pread(fd, buffer, CRILOG_TAIL_MAX, from);
        if (n < 0)
                return -errno;
        crilog_tail(buffer, (size_t) n, from > 0, ret);
        return 0;
}

int crilog_read(const char *dir, const char *pod_namespace, const char *pod_name, const char *pod_uid, const char *name,
                int64_t attempt, Crilog *ret) {
        _cleanup_close_ int root_fd = -EBADF, pod_fd = -EBADF, container_fd = -EBADF, fd = -EBADF;
        char pod[1024], file[32];

        if (!is_component(pod_namespace) || !is_component(pod_name) || !is_component(pod_uid) || !is_component(name) ||
            attempt < 0)
                return -EINVAL;
        if ((size_t) snprintf(pod, sizeof(pod), "%s_%s_%s", pod_namespace, pod_name, pod_uid) >= sizeof(pod))
                return -EINVAL;
        (void) snprintf(file, sizeof(file), "%" PRId64 ".log", attempt);

        root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return -errno;
        pod_fd = open_at(root_fd, pod, O_DIRECTORY);
        if (pod_fd < 0)
                return pod_fd;
        container_fd = open_at(pod_fd, name, O_DIRECTORY);
        if (container_fd < 0)
                return container_fd;
        fd = open_at(container_fd, file, 0);
        return fd < 0 ? fd : read_tail(fd, ret);
}
