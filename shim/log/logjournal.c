#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include "logjournal.h"
#include "logloss.h"

#define SHORT_ID        12
#define SEND_BUFFER     (8 * 1024 * 1024)
#define PRIORITY_OUT    6
#define PRIORITY_ERR    3
#define PRIORITY_NOTICE 4
#define PARTIAL_FIELD   "CONTAINER_PARTIAL_MESSAGE=true\n"
#define SEGMENTS        7
#define SENDS_MAX       1000 /* attempts at one record */

/* Growing text; a failed allocation shows once, at the end. */
typedef struct Text {
        char *bytes;
        size_t len;
        bool failed;
} Text;

struct LogJournal {
        struct sockaddr_un address;
        socklen_t address_len;
        int fd;                /* connected; -EBADF: journald is not there */
        uint64_t connected_ns; /* monotonic time of the last attempt to connect */
        bool no_partial;
        bool stuck;   /* it did not take a record in time: not waited for */
        int patience; /* milliseconds left to wait in this batch */

        LogsStream stream;
        Clk now;
        int priority[LOGS_STREAM_MAX]; /* of the line a partial record began */
        Text fields;                   /* behind the message and before CONTAINER_PARTIAL_MESSAGE */
        size_t priority_at;            /* offset of the digit in it */
        Text labels;

        LogLoss loss;
        LogsHooks hooks;
};

static void text_add(Text *text, const void *bytes, size_t n) {
        char *larger = text->failed ? NULL : realloc(text->bytes, text->len + n + 1);

        if (!larger) {
                text->failed = true;
                return;
        }
        text->bytes = larger;
        memcpy(larger + text->len, bytes, n);
        text->len += n;
}

static void text_field(Text *text, const char *name, size_t name_len, const char *value, size_t value_len) {
        const uint64_t size = htole64(value_len);

        text_add(text, name, name_len);
        if (memchr(value, '\n', value_len)) {
                text_add(text, "\n", 1);
                text_add(text, &size, sizeof(size));
        } else
                text_add(text, "=", 1);
        text_add(text, value, value_len);
        text_add(text, "\n", 1);
}

static void text_string(Text *text, const char *name, const char *value) {
        text_field(text, name, strlen(name), value, strlen(value));
}

static int set_address(LogJournal *log, const char *path) {
        const size_t len = strlen(path);

        log->address.sun_family = AF_UNIX;
        if (len >= sizeof(log->address.sun_path))
                return -ENAMETOOLONG;
        memcpy(log->address.sun_path, path, len + 1);
        log->address_len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len + 1);
        return 0;
}

static void set_fields(LogJournal *log, const LogsOptions *options) {
        char short_id[SHORT_ID + 1];

        (void) snprintf(short_id, sizeof(short_id), "%.*s", SHORT_ID, options->id);
        text_string(&log->fields, "CONTAINER_ID_FULL", options->id);
        text_string(&log->fields, "PRIORITY", "6");
        log->priority_at = log->fields.len - 2;
        text_string(&log->fields, "CONTAINER_ID", short_id);
        if (options->tag)
                text_string(&log->fields, "CONTAINER_TAG", options->tag);
        if (options->name)
                text_string(&log->fields, "CONTAINER_NAME", options->name);
        text_string(&log->fields, "SYSLOG_IDENTIFIER", options->tag ?: options->name ?: short_id);

        for (size_t i = 0; i < options->n_labels; i++) {
                const char *label = options->labels[i], *equals = strchrnul(label, '=');

                text_field(&log->labels, label, (size_t) (equals - label), *equals ? equals + 1 : "",
                           *equals ? strlen(equals + 1) : 0);
        }
}

/* Connects anew. A socket that was replaced, or has come only now, is reached that way. */
static int reconnect(LogJournal *log) {
        _cleanup_close_ int fd = -EBADF;
        const int size = SEND_BUFFER;

        log->fd = close_fd(log->fd);
        log->connected_ns = log->now.monotonic_ns;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        if (connect(fd, (const struct sockaddr *) &log->address, log->address_len) < 0)
                return -errno;
        log->fd = TAKE_FD(fd);
        return 0;
}

int logjournal_new(const LogsOptions *options, LogsCounts *counts, LogJournal **ret) {
        _cleanup_(logjournal_freep) LogJournal *log = NULL;
        int r;

        log = calloc(1, sizeof(*log));
        if (!log)
                return -ENOMEM;
        log->fd = -EBADF;
        log->no_partial = options->no_partial_message;
        log->hooks = options->hooks;
        log->loss = (LogLoss){ .driver = LOGS_JOURNALD, .hooks = &log->hooks, .counts = counts };
        log->now = clk_now();

        r = set_address(log, options->journal_socket ?: LOGJOURNAL_SOCKET);
        if (r < 0)
                return r;
        set_fields(log, options);
        if (log->fields.failed || log->labels.failed)
                return -ENOMEM;
        (void) reconnect(log);
        *ret = TAKE_PTR(log);
        return 0;
}

LogJournal *logjournal_free(LogJournal *log) {
        if (!log)
                return NULL;
        (void) close_fd(log->fd);
        free(log->fields.bytes);
        free(log->labels.bytes);
        free(log);
        return NULL;
}

size_t logjournal_priority(const uint8_t *line, size_t n, int *ret) {
        if (n < 3 || line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>')
                return 0;
        *ret = line[1] - '0';
        return 3;
}

/* The record in a sealed memfd, whose descriptor journald takes in place of a datagram's bytes. */
static int send_memfd(int socket_fd, const struct iovec *segments, size_t n) {
        _cleanup_close_ int fd = -EBADF;
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) };
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        int r;

        fd = memfd_create("podspan-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        for (size_t i = 0; i < n; i++) {
                r = util_write_all(fd, segments[i].iov_base, segments[i].iov_len);
                if (r < 0)
                        return r;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(int));
        return sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_once(LogJournal *log, struct iovec *segments, size_t n) {
        const struct msghdr message = { .msg_iov = segments, .msg_iovlen = n };
        int r;

        if (log->fd < 0)
                return -ENOTCONN;
        r = sendmsg(log->fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
        if (r == -EMSGSIZE || r == -ENOBUFS)
                r = send_memfd(log->fd, segments, n);
        return r;
}

/* Waits until journald may take more, as long as there is patience left for this batch. */
static bool wait_for_room(LogJournal *log) {
        struct pollfd pollfd = { .fd = log->fd, .events = POLLOUT };
        const uint64_t begin_ns = clk_monotonic();
        int r;

        if (log->stuck || log->patience <= 0)
                return false;
        r = poll(&pollfd, 1, log->patience);
        log->patience -= r == 0 ? log->patience
                                : (int) MIN((clk_monotonic() - begin_ns) / NSEC_PER_MSEC, (uint64_t) log->patience);
        return r > 0 || (r < 0 && errno == EINTR);
}

static int send_record(LogJournal *log, struct iovec *segments, size_t n) {
        bool reconnected = false;
        int r = -EAGAIN;

        for (unsigned i = 0; i < SENDS_MAX; i++) {
                r = send_once(log, segments, n);
                if (r == -EINTR)
                        continue;
                if (r == -EAGAIN) {
                        if (wait_for_room(log))
                                continue;
                        log->stuck = true;
                        return r;
                }
                if (r != -ENOTCONN && r != -ECONNREFUSED && r != -ECONNRESET && r != -EPIPE)
                        break;
                if (reconnected || (log->fd < 0 && log->now.monotonic_ns - log->connected_ns < LOGJOURNAL_RETRY_NS))
                        break;
                r = reconnect(log);
                if (r < 0)
                        break;
                reconnected = true;
        }
        if (r >= 0)
                log->stuck = false;
        return r;
}

/* Sends @head and @tail as one message, with its newline if it is a whole line's. */
static int send_message(LogJournal *log, int priority, const LogLinesRecord *record) {
        const uint64_t size = htole64(record->head_len + record->tail_len + 1);
        char binary[8 + sizeof(size)] = "MESSAGE\n";
        struct iovec segments[SEGMENTS];
        size_t n = 0;

        memcpy(binary + 8, &size, sizeof(size));
        segments[n++] = record->partial ? (struct iovec){ .iov_base = (char *) "MESSAGE=", .iov_len = 8 }
                                        : (struct iovec){ .iov_base = binary, .iov_len = sizeof(binary) };
        segments[n++] = (struct iovec){ .iov_base = (uint8_t *) record->head, .iov_len = record->head_len };
        segments[n++] = (struct iovec){ .iov_base = (uint8_t *) record->tail, .iov_len = record->tail_len };
        segments[n++] = (struct iovec){ .iov_base = (char *) "\n\n", .iov_len = record->partial ? 1 : 2 };
        log->fields.bytes[log->priority_at] = (char) ('0' + priority);
        segments[n++] = (struct iovec){ .iov_base = log->fields.bytes, .iov_len = log->fields.len };
        if (record->partial && !log->no_partial)
                segments[n++] = (struct iovec){ .iov_base = (char *) PARTIAL_FIELD, .iov_len = strlen(PARTIAL_FIELD) };
        segments[n++] = (struct iovec){ .iov_base = log->labels.bytes, .iov_len = log->labels.len };
        return send_record(log, segments, n);
}

/* Takes the priority prefix off the begin of a line, wherever it was cut. */
static int strip_priority(LogsStream stream, LogLinesRecord *record) {
        uint8_t begin[3];
        size_t from_head = MIN(record->head_len, sizeof(begin)), n;
        int priority = stream == LOGS_STDERR ? PRIORITY_ERR : PRIORITY_OUT;

        n = from_head + MIN(record->tail_len, sizeof(begin) - from_head);
        memcpy(begin, record->head, from_head);
        memcpy(begin + from_head, record->tail, n - from_head);
        if (logjournal_priority(begin, n, &priority) == 0)
                return priority;

        record->head += from_head;
        record->head_len -= from_head;
        record->tail += sizeof(begin) - from_head;
        record->tail_len -= sizeof(begin) - from_head;
        return priority;
}

static void send_note(LogJournal *log, bool final) {
        char text[LOGLOSS_TEXT_MAX];
        size_t len = logloss_text(&log->loss, log->now.monotonic_ns, final, text);
        const LogLinesRecord record = { .tail = (uint8_t *) text, .tail_len = len };

        if (len > 0 && send_message(log, PRIORITY_NOTICE, &record) >= 0)
                logloss_noted(&log->loss, log->now.monotonic_ns);
}

void logjournal_begin(LogJournal *log, LogsStream stream, const Clk *now) {
        log->stream = stream;
        log->now = *now;
        log->patience = LOGJOURNAL_WAIT_MS;
}

void logjournal_append(LogJournal *log, const LogLinesRecord *original) {
        LogLinesRecord record = *original;
        int r;

        if (record.first)
                log->priority[log->stream] = strip_priority(log->stream, &record);
        send_note(log, false);
        r = send_message(log, log->priority[log->stream], &record);
        if (r >= 0)
                logloss_over(&log->loss);
        else
                logloss_add(&log->loss, log->stream,
                            original->head_len + original->tail_len + (original->partial ? 0 : 1), r);
}

void logjournal_end(LogJournal *log, const Clk *now) {
        log->now = *now;
        send_note(log, true);
}
