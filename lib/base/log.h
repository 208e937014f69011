#pragma once

/*
 * Log
 *
 * To standard error: with journald's "<N>" prefixes, or plain (colours) on a terminal. Library code does not log; a
 * program logs an error once, where it handles it. A message is cut at 2 KiB, its control characters are escaped. A
 * full standard error never blocks: the message is dropped, and the number of these precedes the next that goes
 * through.
 */

#include <stdbool.h>
#include "util.h"

/* syslog(3) priorities. */
typedef enum LogLevel {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7,
} LogLevel;

/* A message that may repeat: at most @burst per interval, then counted and summed up. Static storage, zero-initialized
 * but for the two settings. */
typedef struct LogRatelimit {
        uint64_t interval_ns;
        unsigned burst;
        unsigned n; /* in this interval */
        unsigned n_suppressed;
        uint64_t begin_ns;
} LogRatelimit;

#define LOG_RATELIMIT(interval_s, burst_) \
        { .interval_ns = (interval_s) *NSEC_PER_SEC, .burst = (burst_) }

/* @program (a literal) precedes messages on a terminal. Call once, first. */
void log_setup(const char *program, LogLevel max_level);
void log_set_level(LogLevel max_level);
/* "error" … "debug" → level; 0 or -EINVAL. */
int log_level_parse(const char *s, LogLevel *ret);

/* Logs; with @error negative, "%m" in the format is its text. Returns @error, so that `return log_error_errno(r, …)` is
 * one statement. errno is kept. */
int log_full(LogLevel level, int error, const char *format, ...) _printf_(3, 4);
/* May this message be logged now? */
bool log_ratelimit(LogRatelimit *limit);

#define log_error(...)            ((void) log_full(LOG_LEVEL_ERROR, 0, __VA_ARGS__))
#define log_warning(...)          ((void) log_full(LOG_LEVEL_WARNING, 0, __VA_ARGS__))
#define log_notice(...)           ((void) log_full(LOG_LEVEL_NOTICE, 0, __VA_ARGS__))
#define log_info(...)             ((void) log_full(LOG_LEVEL_INFO, 0, __VA_ARGS__))
#define log_debug(...)            ((void) log_full(LOG_LEVEL_DEBUG, 0, __VA_ARGS__))
#define log_error_errno(e, ...)   log_full(LOG_LEVEL_ERROR, (e), __VA_ARGS__)
#define log_warning_errno(e, ...) log_full(LOG_LEVEL_WARNING, (e), __VA_ARGS__)
