#pragma once

/*
 * Reports
 *
 * What conmon says of itself: "[conmon:e]: text" on standard error, and with --syslog a line to /dev/log. Neither is
 * ever waited for; a message that does not fit is lost.
 */

#include "util.h"

typedef enum ReportLevel {
        REPORT_ERROR,
        REPORT_WARNING,
        REPORT_INFO,
        REPORT_DEBUG,
        REPORT_TRACE,
} ReportLevel;

/* "error", "warn", "trace" …, in any case. 0 or -EINVAL. */
int report_level_parse(const char *s, ReportLevel *ret);

/* From now on; @id (borrowed) stands in front of a message to syslog. */
void report_setup(ReportLevel level, const char *id, bool syslog);

void report_full(ReportLevel level, const char *format, ...) _printf_(2, 3);

#define report_error(...)   report_full(REPORT_ERROR, __VA_ARGS__)
#define report_warning(...) report_full(REPORT_WARNING, __VA_ARGS__)
#define report_info(...)    report_full(REPORT_INFO, __VA_ARGS__)
#define report_debug(...)   report_full(REPORT_DEBUG, __VA_ARGS__)
