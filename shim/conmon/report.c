#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/un.h>
#include <time.h>
#include "report.h"

#define MESSAGE_MAX     2048
#define REPORT_LINE_MAX (MESSAGE_MAX + 256)
#define ID_SHOWN        20

static struct {
        ReportLevel level;
        const char *id;
        bool syslog;
} report = { .level = REPORT_WARNING, .id = "" };

static const struct {
        char letter;
        const char *word;
        int priority;
} levels[] = {
        [REPORT_ERROR] = { 'e', "error", LOG_ERR },   [REPORT_WARNING] = { 'w', "nwarn", LOG_INFO },
        [REPORT_INFO] = { 'i', "ninfo", LOG_INFO },   [REPORT_DEBUG] = { 'd', "ndebug", LOG_INFO },
        [REPORT_TRACE] = { 'd', "ntrace", LOG_INFO },
};

int report_level_parse(const char *s, ReportLevel *ret) {
        static const struct {
                const char *name;
                ReportLevel level;
        } names[] = {
                { "error", REPORT_ERROR },  { "fatal", REPORT_ERROR },     { "panic", REPORT_ERROR },
                { "warn", REPORT_WARNING }, { "warning", REPORT_WARNING }, { "info", REPORT_INFO },
                { "debug", REPORT_DEBUG },  { "trace", REPORT_TRACE },
        };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (strcasecmp(s, names[i].name) == 0) {
                        *ret = names[i].level;
                        return 0;
                }
        return -EINVAL;
}

void report_setup(ReportLevel level, const char *id, bool syslog) {
        report.level = level;
        report.id = id ? id : "";
        report.syslog = syslog;
}

/* A pipe nobody reads must not stop us: with room for any, one has room for PIPE_BUF bytes. */
static void to_stderr(ReportLevel level, const char *message) {
        struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
        char line[REPORT_LINE_MAX];
        int n;

        static_assert(REPORT_LINE_MAX <= PIPE_BUF, "a line may block");

        n = snprintf(line, sizeof(line), "[conmon:%c]: %s\n", levels[level].letter, message);
        if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT))
                (void) !write(STDERR_FILENO, line, (size_t) n);
}

static void to_syslog(ReportLevel level, const char *message) {
        static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
        _cleanup_close_ int fd = -EBADF;
        char line[REPORT_LINE_MAX], stamp[32];
        time_t now = time(NULL);
        struct tm tm;
        int n;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || !localtime_r(&now, &tm) || strftime(stamp, sizeof(stamp), "%b %e %H:%M:%S", &tm) == 0)
                return;

        n = snprintf(line, sizeof(line), "<%d>%s conmon: conmon %.*s <%s>: %s\n", LOG_USER | levels[level].priority,
                     stamp, ID_SHOWN, report.id, levels[level].word, message);
        (void) sendto(fd, line, MIN((size_t) n, sizeof(line) - 1), MSG_DONTWAIT | MSG_NOSIGNAL,
                      (const struct sockaddr *) &address, sizeof(address));
}

void report_full(ReportLevel level, const char *format, ...) {
        char message[MESSAGE_MAX];
        va_list ap;

        if (level > report.level)
                return;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);

        to_stderr(level, message);
        if (report.syslog)
                to_syslog(level, message);
}
