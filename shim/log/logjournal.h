#pragma once

/*
 * journald
 *
 * Records as datagrams of journald's native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): lines of NAME=value, or NAME,
 * a little-endian 64-bit length and the bytes where a value has a newline; what is too long for a datagram goes in a
 * sealed memfd. Fields and their order are conmon's:
 *
 *     MESSAGE, CONTAINER_ID_FULL, PRIORITY, CONTAINER_ID (12 characters), CONTAINER_TAG, CONTAINER_NAME,
 *     SYSLOG_IDENTIFIER (tag, else name, else the short id), CONTAINER_PARTIAL_MESSAGE=true, labels
 *
 * As with conmon, the message of a whole line has its newline. PRIORITY is 6 for stdout and 3 for stderr; "<N>" at the
 * begin of a line, N of 0 to 7, is taken off and sets it for the whole line (conmon from 2.2 on).
 */

#include "loglines.h"

#define LOGJOURNAL_SOCKET   "/run/systemd/journal/socket"
#define LOGJOURNAL_ID_MIN   13                    /* characters of a container's id */
#define LOGJOURNAL_WAIT_MS  500                   /* in all, for one logs_write(); then journald counts as stuck */
#define LOGJOURNAL_RETRY_NS (100 * NSEC_PER_MSEC) /* between attempts to reach a journald that is not there */

typedef struct LogJournal LogJournal;

/* @counts is borrowed. 0 with the log owned by the caller, or a negative errno; an unreachable journald is none. */
int logjournal_new(const LogsOptions *options, LogsCounts *counts, LogJournal **ret);
LogJournal *logjournal_free(LogJournal *log);
DEFINE_CLEANUP(LogJournal *, logjournal_free);

/* Records of @stream at @now follow. */
void logjournal_begin(LogJournal *log, LogsStream stream, const Clk *now);
void logjournal_append(LogJournal *log, const LogLinesRecord *record);

/* As logs_end(). */
void logjournal_end(LogJournal *log, const Clk *now);

/* The length of a priority prefix at the begin of @line, 3 with the priority in @ret, or 0. */
size_t logjournal_priority(const uint8_t *line, size_t n, int *ret);
