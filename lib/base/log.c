/*
 * A message is put together in one buffer on the stack and leaves in one system call, so that lines of several
 * processes on one pipe do not mix: up to PIPE_BUF bytes are atomic, and LOG_MESSAGE_MAX is below it.
 *
 * A socket is written to with MSG_DONTWAIT. For anything else poll(2) is asked with timeout 0. POLLOUT on a pipe means
 * there is room for PIPE_BUF bytes, so the write cannot block, unless another writer fills the pipe in between: then we
 * wait for that reader, as that writer does. Setting O_NONBLOCK instead would be exact, but it belongs to the open
 * file, which we share with our parent, with the containers' runtime for a hook.
 */

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "clk.h"
#include "log.h"

#define LOG_MESSAGE_MAX 2048

static struct {
        const char *program;
        LogLevel max_level;
        bool terminal;
        bool colours;
        atomic_uint n_dropped; /* since the last message that went through; any thread may log */
} log_state = {
        .program = "podspan",
        .max_level = LOG_LEVEL_INFO,
};

static const char *const log_names[] = {
        [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
        [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

static const char *const log_colours[] = {
        [LOG_LEVEL_ERROR] = "\033[1;31m", [LOG_LEVEL_WARNING] = "\033[1;33m",
        [LOG_LEVEL_NOTICE] = "\033[1m",   [LOG_LEVEL_INFO] = "",
        [LOG_LEVEL_DEBUG] = "\033[2m",
};

void log_setup(const char *program, LogLevel max_level) {
        const char *no_color = getenv("NO_COLOR");

        log_state.program = program;
        log_state.max_level = max_level;
        log_state.terminal = isatty(STDERR_FILENO) == 1;
        log_state.colours = log_state.terminal && (!no_color || no_color[0] == '\0');
}

void log_set_level(LogLevel max_level) {
        log_state.max_level = max_level;
}

int log_level_parse(const char *s, LogLevel *ret) {
        for (size_t i = LOG_LEVEL_ERROR; i < ARRAY_SIZE(log_names); i++)
                if (strcmp(s, log_names[i]) == 0) {
                        *ret = (LogLevel) i;
                        return 0;
                }

        return -EINVAL;
}

/* Appends what fits of @s below @limit. */
static size_t log_put(char *line, size_t n, size_t limit, const char *s) {
        size_t len = strlen(s);

        len = MIN(len, limit - n);
        memcpy(line + n, s, len);
        return n + len;
}

/* Control characters could forge lines and "<N>" prefixes, or drive a terminal; what is no UTF-8 journald stores as a
 * blob. */
static size_t log_put_escaped(char *line, size_t n, size_t limit, const char *s) {
        while (*s) {
                uint8_t c = (uint8_t) *s;
                size_t len = 1;

                if (c >= 0xc0) {
                        len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
                        len = strnlen(s, len);
                }

                /* U+0080 … U+009F are control characters too, and are encoded as c2 80 … c2 9f. */
                if (c < 0x20 || c == 0x7f || (c == 0xc2 && (uint8_t) s[1] < 0xa0) || !util_utf8_valid(s, len)) {
                        char escape[] = "\\x00";

                        if (limit - n < 4)
                                break;
                        util_hex_encode(s, 1, escape + 2);
                        memcpy(line + n, escape, 4);
                        n += 4;
                        s++;
                        continue;
                }

                if (limit - n < len)
                        break;
                memcpy(line + n, s, len);
                n += len;
                s += len;
        }

        return n;
}

static bool log_write(const char *line, size_t n) {
        struct pollfd pollfd = { .fd = STDERR_FILENO, .events = POLLOUT };
        ssize_t r;

        /* journald's end is a socket, where "do not wait" can be said for one call. */
        r = send(STDERR_FILENO, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r >= 0)
                return true;
        if (errno != ENOTSOCK)
                return false;

        /* POLLERR: a pipe without readers, where a write would bring SIGPIPE. */
        if (poll(&pollfd, 1, 0) != 1 || (pollfd.revents & (POLLOUT | POLLERR)) != POLLOUT)
                return false;

        do
                r = write(STDERR_FILENO, line, n);
        while (r < 0 && errno == EINTR);
        return r >= 0;
}

static bool log_emit(LogLevel level, const char *text) {
        char line[LOG_MESSAGE_MAX];
        size_t n = 0, limit = sizeof(line) - 8; /* room for the end of the colour and the line */

        if (log_state.terminal) {
                n = log_put(line, n, limit, log_state.program);
                n = log_put(line, n, limit, ": ");
                if (log_state.colours)
                        n = log_put(line, n, limit, log_colours[level]);
        } else {
                const char prefix[] = { '<', (char) ('0' + level), '>', '\0' };

                n = log_put(line, n, limit, prefix);
        }

        n = log_put_escaped(line, n, limit, text);
        if (log_state.colours && log_colours[level][0])
                n = log_put(line, n, sizeof(line), "\033[0m");
        n = log_put(line, n, sizeof(line), "\n");

        return log_write(line, n);
}

int log_full(LogLevel level, int error, const char *format, ...) {
        int saved_errno = errno;
        char text[LOG_MESSAGE_MAX];
        unsigned n_dropped;
        va_list ap;

        if (level > log_state.max_level)
                return error;

        errno = error < 0 ? -error : saved_errno;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);

        n_dropped = atomic_exchange(&log_state.n_dropped, 0);
        if (n_dropped > 0) {
                char lost[64];

                (void) snprintf(lost, sizeof(lost), "messages dropped while standard error was full: %u", n_dropped);
                if (log_emit(LOG_LEVEL_WARNING, lost))
                        n_dropped = 0;
        }

        if (n_dropped > 0 || !log_emit(level, text))
                atomic_fetch_add(&log_state.n_dropped, n_dropped + 1);

        errno = saved_errno;
        return error;
}

bool log_ratelimit(LogRatelimit *limit) {
        uint64_t now_ns = clk_monotonic();

        if (limit->n == 0 || now_ns - limit->begin_ns >= limit->interval_ns) {
                unsigned n_suppressed = limit->n_suppressed;

                limit->begin_ns = now_ns;
                limit->n = 0;
                limit->n_suppressed = 0;
                if (n_suppressed > 0)
                        log_notice("similar messages suppressed: %u", n_suppressed);
        }

        if (limit->n >= limit->burst) {
                limit->n_suppressed++;
                return false;
        }

        limit->n++;
        return true;
}
