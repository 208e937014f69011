#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include "logk8s.h"
#include "logloss.h"
#include "logpipe.h"
#include "logrotate.h"

#define HEADER_SECONDS 20 /* "2026-11-21T13:14:15." */
#define HEADER_NANOS   9
#define HEADER_STREAM  36 /* offset of "stdout" */
#define HEADER_TAG     43 /* offset of F or P */

struct LogK8s {
        LogRotate rotate;
        int fd;
        bool regular;
        bool shift;   /* --log-rotate */
        bool torn;    /* a file that could not be cut ends within a record */
        LogPipe pipe; /* where it is no regular file */
        int64_t size_max;
        int64_t global_size_max;
        uint64_t size;  /* of the file, with what is in the buffer */
        uint64_t total; /* of all files */

        bool reopen_due;   /* a failed logk8s_reopen() */
        uint64_t retry_ns; /* monotonic time before which no failed rotation is tried again */

        LogLoss loss;
        LogsHooks hooks;
        LogsCounts *counts;

        /* the batch */
        LogsStream stream;
        Clk now;
        bool header_ready;
        uint64_t header_second; /* of the time in the header, 0 for none */
        char header[LOGK8S_HEADER];
        size_t used;  /* bytes of the buffer */
        size_t start; /* of its part that is in no segment yet */
        size_t n_segments;
        struct iovec segments[LOGK8S_SEGMENTS];
        uint8_t buffer[LOGK8S_BUFFER];
};

static_assert(LOGS_LINE_MAX + LOGK8S_HEADER + LOGK8S_COPY_MAX + 1 <= LOGK8S_BUFFER, "a record's copied part must fit");

int logk8s_new(const LogsOptions *options, const char *path, LogsCounts *counts, LogK8s **ret) {
        _cleanup_(logk8s_freep) LogK8s *log = NULL;
        LogRotateKind kind;
        int r;

        log = malloc(sizeof(*log)); /* not zeroed: the buffer stays untouched until it is used */
        if (!log)
                return -ENOMEM;
        memset(log, 0, offsetof(LogK8s, segments));
        log->rotate = (LogRotate) LOGROTATE_NULL;
        log->fd = -EBADF;
        log->shift = options->rotate;
        log->size_max = options->size_max;
        log->global_size_max = options->global_size_max;
        log->hooks = options->hooks;
        log->counts = counts;
        log->loss = (LogLoss){ .driver = LOGS_K8S_FILE, .hooks = &log->hooks, .counts = counts };

        tzset();
        r = logrotate_init(&log->rotate, path, options->allowlist_dirs, options->n_allowlist_dirs,
                           options->rotate ? (uint64_t) options->max_files : 0);
        if (r < 0)
                return r;
        r = logrotate_open(&log->rotate, &log->fd, &log->size, &kind);
        if (r < 0)
                return r;
        log->regular = kind == LOGROTATE_FILE;
        logpipe_init(&log->pipe, log->fd, kind == LOGROTATE_FIFO || kind == LOGROTATE_READ, kind == LOGROTATE_READ);
        log->total = log->size;
        *ret = TAKE_PTR(log);
        return 0;
}

LogK8s *logk8s_free(LogK8s *log) {
        if (!log)
                return NULL;
        logpipe_deinit(&log->pipe);
        (void) close_fd(log->fd);
        logrotate_deinit(&log->rotate);
        free(log);
        return NULL;
}

static void put_digits(char *at, unsigned digits, uint64_t value) {
        while (digits > 0) {
                at[--digits] = (char) ('0' + value % 10);
                value /= 10;
        }
}

void logk8s_header(uint64_t realtime_ns, LogsStream stream, char ret[static LOGK8S_HEADER]) {
        const time_t second = (time_t) (realtime_ns / NSEC_PER_SEC);
        struct tm tm = { .tm_year = 70, .tm_mday = 1 };
        char text[LOGK8S_HEADER + 1];
        unsigned offset;

        (void) localtime_r(&second, &tm); /* a u64 of nanoseconds ends in the year 2554: it cannot fail */
        offset = (unsigned) labs(tm.tm_gmtoff) / 60;
        (void) snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02u.%09u%c%02u:%02u %s F ",
                        (unsigned) (tm.tm_year + 1900) % 10000, (unsigned) (tm.tm_mon + 1) % 100,
                        (unsigned) tm.tm_mday % 100, (unsigned) tm.tm_hour % 100, (unsigned) tm.tm_min % 100,
                        (unsigned) tm.tm_sec % 100, (unsigned) (realtime_ns % NSEC_PER_SEC),
                        tm.tm_gmtoff < 0 ? '-' : '+', offset / 60 % 100, offset % 60,
                        stream == LOGS_STDOUT ? "stdout" : "stderr");
        memcpy(ret, text, LOGK8S_HEADER);
}

/* A read has one time, and most share the second of the one before. */
static void prepare_header(LogK8s *log) {
        const uint64_t second = log->now.realtime_ns / NSEC_PER_SEC;

        if (log->header_second != second || second == 0)
                logk8s_header(log->now.realtime_ns, log->stream, log->header);
        put_digits(log->header + HEADER_SECONDS, HEADER_NANOS, log->now.realtime_ns % NSEC_PER_SEC);
        memcpy(log->header + HEADER_STREAM, log->stream == LOGS_STDOUT ? "stdout" : "stderr", 6);
        log->header_second = second;
        log->header_ready = true;
}

void logk8s_begin(LogK8s *log, LogsStream stream, const Clk *now) {
        log->stream = stream;
        log->now = *now;
        log->header_ready = false;
}

/* The bytes of content that are lost with the records of @segments from @skip bytes on, which begins a record. A record
 * ends with the only newline in it. */
static uint64_t content_from(const struct iovec *segments, size_t n, size_t skip) {
        uint64_t content = 0;
        size_t at = 0; /* in the record */
        bool full = false;

        for (size_t i = 0; i < n; i++) {
                const uint8_t *p = segments[i].iov_base;
                size_t len = segments[i].iov_len, step = MIN(skip, len);

                skip -= step;
                p += step;
                len -= step;
                while (len > 0) {
                        if (at < LOGK8S_HEADER) {
                                if (at == HEADER_TAG)
                                        full = *p == 'F';
                                at++;
                                step = 1;
                        } else {
                                const uint8_t *newline = memchr(p, '\n', len);

                                step = newline ? (size_t) (newline - p) + 1 : len;
                                content += step - (newline && !full ? 1 : 0);
                                at = newline ? 0 : at;
                        }
                        p += step;
                        len -= step;
                }
        }
        return content;
}

/* Of the first @written bytes, how many are whole records? */
static size_t whole_records(const struct iovec *segments, size_t n, size_t written) {
        size_t end = 0, whole = 0;

        for (size_t i = 0; i < n && end < written; i++) {
                const size_t len = MIN(segments[i].iov_len, written - end);
                const uint8_t *newline = memrchr(segments[i].iov_base, '\n', len);

                if (newline)
                        whole = end + (size_t) (newline - (const uint8_t *) segments[i].iov_base) + 1;
                end += len;
        }
        return whole;
}

/* Takes the last @excess bytes off the file, the torn record's begin. What cannot be cut gets a newline later. */
static void mend(LogK8s *log, size_t excess) {
        struct stat st;

        if (excess == 0)
                return;
        if (fstat(log->fd, &st) < 0 || (uint64_t) st.st_size < excess ||
            ftruncate(log->fd, st.st_size - (off_t) excess) < 0)
                log->torn = true;
}

/* Writes all of @segments, as far as it goes. Returns 0 or the negative errno that stopped it, and how far it went. */
static int write_segments(int fd, const struct iovec *segments, size_t n, size_t *ret_written) {
        struct iovec copy[LOGK8S_SEGMENTS + 1];
        struct iovec *iov = copy;
        size_t written = 0;
        int r = 0;

        memcpy(copy, segments, n * sizeof(*copy));
        while (n > 0) {
                ssize_t k = writev(fd, iov, (int) n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0) {
                        r = k < 0 ? -errno : -EIO;
                        break;
                }
                written += (size_t) k;
                logpipe_advance(&iov, &n, (size_t) k);
        }
        *ret_written = written;
        return r;
}

static bool is_full(const LogK8s *log) {
        return log->global_size_max > 0 && log->total >= (uint64_t) log->global_size_max;
}

/* Says in the log what was lost, if there is something to say. */
static void write_note(LogK8s *log, bool final) {
        char text[LOGLOSS_TEXT_MAX], header[LOGK8S_HEADER];
        size_t len, size, written;

        len = logloss_text(&log->loss, log->now.monotonic_ns, final, text);
        if (len == 0)
                return;
        text[len++] = '\n';
        logk8s_header(log->now.realtime_ns, LOGS_STDERR, header);
        size = sizeof(header) + len;
        if (is_full(log))
                return;

        const struct iovec segments[] = {
                { .iov_base = (char *) "\n", .iov_len = log->torn ? 1 : 0 },
                { .iov_base = header, .iov_len = sizeof(header) },
                { .iov_base = text, .iov_len = len },
        };
        const size_t lead = segments[0].iov_len;

        if (!log->regular) {
                size_t taken;

                if (logpipe_write(&log->pipe, segments, ARRAY_SIZE(segments), &taken) == 0)
                        logloss_noted(&log->loss, log->now.monotonic_ns);
                return;
        }
        if (write_segments(log->fd, segments, ARRAY_SIZE(segments), &written) < 0) {
                if (written >= lead)
                        log->torn = false;
                mend(log, written > lead ? written - lead : 0);
                return;
        }
        log->torn = false;
        log->size += size;
        log->total += size;
        logloss_noted(&log->loss, log->now.monotonic_ns);
}

static void close_run(LogK8s *log) {
        if (log->used > log->start)
                log->segments[log->n_segments++] =
                        (struct iovec){ .iov_base = log->buffer + log->start, .iov_len = log->used - log->start };
        log->start = log->used;
}

/* Writes the segments, whole records of @size bytes. Returns 0 or the negative errno that stopped it, and how many
 * bytes of whole records were taken. */
static int write_records(LogK8s *log, size_t *ret_whole) {
        size_t written = 0;
        int r = 0;

        if (!log->regular)
                return logpipe_write(&log->pipe, log->segments, log->n_segments, ret_whole);
        if (log->torn) {
                r = write_segments(log->fd, &(struct iovec){ .iov_base = (char *) "\n", .iov_len = 1 }, 1, &written);
                log->torn = r < 0;
                written = 0;
        }
        if (r >= 0)
                r = write_segments(log->fd, log->segments, log->n_segments, &written);
        *ret_whole = r < 0 ? whole_records(log->segments, log->n_segments, written) : written;
        if (r < 0)
                mend(log, written - *ret_whole);
        return r;
}

static void write_batch(LogK8s *log) {
        size_t size = 0, whole;
        int r;

        write_note(log, false);
        for (size_t i = 0; i < log->n_segments; i++)
                size += log->segments[i].iov_len;

        r = write_records(log, &whole);
        if (r >= 0) {
                logloss_over(&log->loss);
                return;
        }
        log->size -= MIN(log->size, size - whole);
        log->total -= MIN(log->total, size - whole);
        logloss_add(&log->loss, log->stream, content_from(log->segments, log->n_segments, whole), r);
}

void logk8s_flush(LogK8s *log) {
        close_run(log);
        if (log->n_segments > 0)
                write_batch(log);
        log->n_segments = 0;
        log->used = 0;
        log->start = 0;
}

/* Puts @fd in the place of the log's. */
static void take_over(LogK8s *log, int fd) {
        log->fd = close_fd(log->fd);
        log->fd = fd;
        log->size = 0;
}

/* Replaces the file in the way of @kind, and tells. 0 or a negative errno, then the old file stays. */
static int change_file(LogK8s *log, LogsRotationKind kind) {
        LogsRotation rotation = { .kind = kind, .start = clk_now(), .size = log->size };
        int fd = -EBADF, r;

        switch (kind) {
        case LOGS_KEPT:
                /* Its own size: nothing changes, but whoever waits for the file hears of it. */
                r = ftruncate(log->fd, (off_t) log->size) < 0 ? -errno : 0;
                break;
        case LOGS_ROTATED:
                r = logrotate_shift(&log->rotate, log->fd, &fd);
                break;
        default:
                r = logrotate_replace(&log->rotate, &fd);
                break;
        }
        if (fd >= 0)
                take_over(log, fd);

        rotation.error = r;
        rotation.duration_ns = clk_monotonic() - rotation.start.monotonic_ns;
        if (log->hooks.rotated)
                log->hooks.rotated(log->hooks.userdata, &rotation);
        if (r < 0)
                log->retry_ns = log->now.monotonic_ns + LOGK8S_RETRY_NS;
        return r;
}

/* Somebody may have truncated the file. Nothing is in the buffer. */
static void look_at_size(LogK8s *log) {
        struct stat st;

        if (fstat(log->fd, &st) == 0)
                log->size = (uint64_t) st.st_size;
}

static int reopen(LogK8s *log) {
        LogsRotationKind kind = LOGS_REOPENED;
        int r;

        if (!log->regular)
                return 0;
        /* A folder that is missing makes the change fail, and it is tried again. */
        (void) logrotate_renew(&log->rotate);
        if (logrotate_in_place(&log->rotate, log->fd)) {
                kind = log->shift ? LOGS_ROTATED : LOGS_KEPT;
                look_at_size(log);
        }
        r = change_file(log, kind);
        log->reopen_due = r < 0;
        return r;
}

int logk8s_reopen(LogK8s *log, const Clk *now) {
        log->now = *now;
        return reopen(log);
}

/* Makes room for a record of @size bytes, if there is a limit. */
static void limit(LogK8s *log, size_t size) {
        if (log->size_max <= 0 || !log->regular || log->size == 0 || log->size + size <= (uint64_t) log->size_max)
                return;
        if (log->now.monotonic_ns < log->retry_ns)
                return;

        logk8s_flush(log);
        look_at_size(log);
        if (log->size == 0 || log->size + size <= (uint64_t) log->size_max)
                return;
        (void) logrotate_renew(&log->rotate);
        (void) change_file(log, !logrotate_exists(&log->rotate) ? LOGS_REOPENED
                                : log->shift                    ? LOGS_ROTATED
                                                                : LOGS_TRUNCATED);
}

static void put(LogK8s *log, const void *bytes, size_t n) {
        memcpy(log->buffer + log->used, bytes, n);
        log->used += n;
}

static void append_one(LogK8s *log, const LogLinesRecord *record) {
        const size_t content = record->head_len + record->tail_len;
        const size_t size = LOGK8S_HEADER + content + 1;
        const bool copy = record->tail_len <= LOGK8S_COPY_MAX;

        if (is_full(log)) {
                log->counts[log->stream].limited += content + (record->partial ? 0 : 1);
                return;
        }
        if (log->reopen_due && log->now.monotonic_ns >= log->retry_ns) {
                logk8s_flush(log);
                (void) reopen(log);
        }
        limit(log, size);
        if (log->used + size - (copy ? 0 : record->tail_len) > LOGK8S_BUFFER || log->n_segments + 3 > LOGK8S_SEGMENTS)
                logk8s_flush(log);

        if (!log->header_ready)
                prepare_header(log);
        put(log, log->header, LOGK8S_HEADER);
        if (record->partial)
                log->buffer[log->used - 2] = 'P';
        put(log, record->head, record->head_len);
        if (copy)
                put(log, record->tail, record->tail_len);
        else {
                close_run(log);
                log->segments[log->n_segments++] =
                        (struct iovec){ .iov_base = (uint8_t *) record->tail, .iov_len = record->tail_len };
        }
        log->buffer[log->used++] = '\n';
        log->size += size;
        log->total += size;
}

void logk8s_append(LogK8s *log, const LogLinesRecord *record) {
        size_t piece = SIZE_MAX, left = record->head_len + record->tail_len;
        LogLinesRecord part = *record;

        /* No record is longer than a file may be. */
        if (log->size_max > 0 && log->regular)
                piece = MAX((size_t) log->size_max, (size_t) LOGK8S_HEADER + 1 + LOGK8S_PIECE_MIN) - LOGK8S_HEADER - 1;
        for (; left > piece; left -= piece) {
                part.head_len = MIN(part.head_len, piece);
                part.tail_len = piece - part.head_len;
                part.partial = true;
                append_one(log, &part);
                log->counts[log->stream].partials++;
                part.head += part.head_len;
                part.tail += part.tail_len;
                part.head_len = record->head_len - (size_t) (part.head - record->head);
                part.first = false;
        }
        part.tail_len = left - part.head_len;
        part.partial = record->partial;
        append_one(log, &part);
}

/* All the whole lines of @data are kept out by the global limit. */
static size_t drop_lines(LogK8s *log, const uint8_t *data, size_t n, uint64_t *ret_lines) {
        const uint8_t *last = memrchr(data, '\n', n);
        const size_t size = last ? (size_t) (last - data) + 1 : 0;
        uint64_t lines = 0;

        for (size_t i = 0; i < size; i++)
                lines += data[i] == '\n';
        log->counts[log->stream].limited += size;
        *ret_lines = lines;
        return size;
}

size_t logk8s_append_lines(LogK8s *log, const uint8_t *data, size_t n, uint64_t *ret_lines) {
        const uint8_t *at = data, *const end = data + n;
        uint64_t lines = 0;
        size_t used;

        *ret_lines = 0;
        if (is_full(log))
                return drop_lines(log, data, n, ret_lines);
        if (log->size_max > 0 || log->global_size_max > 0 || log->reopen_due)
                return 0;
        if (!log->header_ready)
                prepare_header(log);

        used = log->used;
        for (;;) {
                const size_t window = MIN((size_t) (end - at), (size_t) LOGK8S_COPY_MAX + 1);
                const uint8_t *newline = memchr(at, '\n', window);
                size_t len;

                if (!newline)
                        break;
                len = (size_t) (newline - at) + 1;
                if (used + LOGK8S_HEADER + len > LOGK8S_BUFFER) {
                        log->used = used;
                        logk8s_flush(log);
                        used = 0;
                }
                memcpy(log->buffer + used, log->header, LOGK8S_HEADER);
                memcpy(log->buffer + used + LOGK8S_HEADER, at, len);
                used += LOGK8S_HEADER + len;
                at += len;
                lines++;
        }

        log->used = used;
        log->size += (uint64_t) (at - data) + lines * LOGK8S_HEADER;
        log->total += (uint64_t) (at - data) + lines * LOGK8S_HEADER;
        *ret_lines = lines;
        return (size_t) (at - data);
}

void logk8s_end(LogK8s *log, const Clk *now) {
        log->now = *now;
        if (!log->regular)
                (void) logpipe_finish(&log->pipe);
        write_note(log, true);
}

int logk8s_sync(LogK8s *log, bool to_disk) {
        if (!log->regular)
                return logpipe_linger(&log->pipe);
        if (to_disk && fsync(log->fd) < 0 && errno != EINVAL && errno != EROFS)
                return -errno;
        return 0;
}
