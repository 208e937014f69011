#pragma once

/*
 * k8s-file
 *
 * Records in a file, in the format that the CRI defines and kubelet, CRI-O and podman read:
 *
 *     2026-11-21T13:14:15.123456789+01:00 stdout F hello
 *
 * with local time and its offset (never "Z"), stdout or stderr, F for the end of a line or P where it goes on. Records
 * of one read share a timestamp and, up to LOGK8S_BUFFER, a system call.
 *
 * Limits as conmon's, to the byte: before a record that would make the file longer than size_max, the file gives way to
 * a new one; once global_size_max bytes are written, nothing more is. An empty file never gives way.
 *
 * A file that cannot be rotated grows on, and it is tried again LOGK8S_RETRY_NS later.
 */

#include "loglines.h"

#define LOGK8S_BUFFER   (100U * 1024) /* bytes of records before a write */
#define LOGK8S_COPY_MAX 1024 /* bytes of a record that are copied; longer ones are written from where they are */
#define LOGK8S_SEGMENTS 64
#define LOGK8S_HEADER   45 /* bytes before the content */
#define LOGK8S_RETRY_NS NSEC_PER_SEC
/* A line longer than size_max allows is split into partial records that fit, of at least so many bytes of content. */
#define LOGK8S_PIECE_MIN 64

typedef struct LogK8s LogK8s;

/* Opens @path with the limits of @options. @counts is borrowed. 0 with the log owned by the caller or negative errno.
 */
int logk8s_new(const LogsOptions *options, const char *path, LogsCounts *counts, LogK8s **ret);
LogK8s *logk8s_free(LogK8s *log);
DEFINE_CLEANUP(LogK8s *, logk8s_free);

/* Records of @stream at @now follow. */
void logk8s_begin(LogK8s *log, LogsStream stream, const Clk *now);
/* Adds a record; its tail stays untouched until logk8s_flush(), its head may go. */
void logk8s_append(LogK8s *log, const LogLinesRecord *record);
/*
 * The same for all the whole lines of at most LOGK8S_COPY_MAX bytes that @data begins with, many times faster than one
 * by one. Returns how many bytes that are, 0 where limits want a look at each record; their number is in @ret_lines.
 */
size_t logk8s_append_lines(LogK8s *log, const uint8_t *data, size_t n, uint64_t *ret_lines);
/* Writes what was added. */
void logk8s_flush(LogK8s *log);

/* As logs_reopen(), logs_end() and logs_sync(); @to_disk: a regular file is synced, too. */
int logk8s_reopen(LogK8s *log, const Clk *now);
void logk8s_end(LogK8s *log, const Clk *now);
int logk8s_sync(LogK8s *log, bool to_disk);

/* The first LOGK8S_HEADER bytes of a full record of @stream at @realtime_ns. For tests as well. */
void logk8s_header(uint64_t realtime_ns, LogsStream stream, char ret[static LOGK8S_HEADER]);
