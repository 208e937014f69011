#pragma once

/*
 * Container logs
 *
 * The front of the log side of a monitor: what a container writes to stdout and stderr goes in as it was read, records
 * go to every log destination asked for, several at once (k8s-file in the CRI's format, journald by its native
 * protocol). Knows nothing of pipes, of an event loop or of a command line's syntax.
 *
 * Lines: one line is one record. Only a line of more than LOGS_LINE_MAX bytes is split, into partial records of
 * LOGS_LINE_MAX bytes and a last full one with the rest. Where the container's writes and our reads end does not show.
 * A line without its end is held; after LOGS_PARTIAL_NS without more of it, and at the end, what there is becomes a
 * partial record. Everything else is written before logs_write() returns.
 *
 * A destination that fails never fails the caller: what could not be written is dropped, counted, reported once for
 * each outage (LogsHooks.lost), and said in the log itself by one record on stderr when writing works again ("podspan:
 * 1234 bytes of log lost: No space left on device"). A log file always ends with a whole record: a torn one is cut off
 * again.
 *
 * Time: logs_write() does not wait, with three exceptions. A regular file on a disk that hangs blocks its writer in the
 * kernel, as it does with conmon; the container feels it when its pipe is full. journald that is busy is waited for,
 * but not for longer than LOGJOURNAL_WAIT_MS without any progress; then it counts as failed and is not waited for until
 * it takes a record again. The reader of a FIFO or device is waited for as logpipe.h says. Both are back-pressure.
 *
 * Memory: one output buffer and, for each stream that ever left a line unfinished, LOGS_LINE_MAX bytes; see logk8s.h.
 *
 * Local time: timestamps carry the UTC offset of TZ or /etc/localtime as it was at logs_new().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "clk.h"
#include "util.h"

#define LOGS_LINE_MAX   (16U * 1024)          /* bytes of a line in one record, without its newline */
#define LOGS_PARTIAL_NS (100 * NSEC_PER_MSEC) /* of silence until an unfinished line becomes a partial record */

typedef enum LogsStream {
        LOGS_STDOUT, /* all of a terminal's output, too */
        LOGS_STDERR,
        LOGS_STREAM_MAX,
} LogsStream;

typedef enum LogsDriver {
        LOGS_K8S_FILE,
        LOGS_JOURNALD,
        LOGS_DRIVER_MAX,
} LogsDriver;

typedef enum LogsRotationKind {
        LOGS_REOPENED,  /* logs_reopen(): a new file in the place of one that was renamed or removed */
        LOGS_KEPT,      /* logs_reopen(), but the file was still in its place: written on, its watchers are told */
        LOGS_TRUNCATED, /* size_max reached without rotate: a new file, the old one's content is gone */
        LOGS_ROTATED,   /* size_max reached, or logs_reopen(), with rotate: the old file is PATH.1 now */
} LogsRotationKind;

/* One finished or failed change of the log file, for a span of its own ("log_rotate"). */
typedef struct LogsRotation {
        LogsRotationKind kind;
        Clk start;
        uint64_t duration_ns;
        uint64_t size; /* of the old file, in bytes */
        int error;     /* negative errno, then the old file is still written to and it is tried again; else 0 */
} LogsRotation;

/* The begin of an outage of one destination. */
typedef struct LogsLoss {
        LogsDriver driver;
        LogsStream stream;
        int error; /* negative errno of the first failure */
} LogsLoss;

/* What the owner wants to hear; any may be NULL. Called from within logs_write(), logs_reopen(), logs_flush_partial()
 * and logs_end(); must not call back into the same Logs. The pointers are valid during the call. */
typedef struct LogsHooks {
        void (*rotated)(void *userdata, const LogsRotation *rotation);
        void (*lost)(void *userdata, const LogsLoss *loss);
        void *userdata;
} LogsHooks;

/* As conmon's options of the same names; strings and arrays are borrowed by logs_new() only while it runs. */
typedef struct LogsOptions {
        /*
         * --log-path values: PATH, :PATH, k8s-file:PATH, journald[:ANY], none|off|null[:ANY], passthrough[:ANY]. Of
         * several files the last one counts. Unlike with conmon a PATH may contain colons (behind a driver's name or a
         * leading colon, or if it begins with a slash).
         */
        const char *const *paths;
        size_t n_paths;

        const char *id;            /* --cid; more than 12 characters where journald is used, else unused */
        const char *name;          /* --name or NULL; journald only */
        const char *tag;           /* --log-tag or NULL; journald only */
        const char *const *labels; /* --log-label NAME=VALUE; NAME of [A-Z0-9_]; journald only */
        size_t n_labels;

        int64_t size_max;        /* --log-size-max, bytes of one file; <= 0: no limit */
        int64_t global_size_max; /* --log-global-size-max, bytes of all; then nothing is written; <= 0: no limit */
        bool rotate;             /* --log-rotate: keep what size_max would discard, as PATH.1 … PATH.max_files */
        int64_t max_files;       /* --log-max-files; negative is an error, 0 one with rotate; conmon's default is 1 */
        const char *const *allowlist_dirs; /* --log-allowlist-dir: rotate only below one of these; none: anywhere */
        size_t n_allowlist_dirs;

        bool no_partial_message; /* --no-container-partial-message: journald without CONTAINER_PARTIAL_MESSAGE */
        bool no_sync;            /* --no-sync-log: logs_sync() syncs no file */

        const char *journal_socket; /* NULL: LOGJOURNAL_SOCKET; another one for tests */
        LogsHooks hooks;
} LogsOptions;

/* Of one stream, since logs_new(). */
typedef struct LogsCounts {
        uint64_t bytes;    /* given to logs_write() */
        uint64_t lines;    /* ended by a newline; 0 where no destination splits lines (none, passthrough) */
        uint64_t partials; /* records without the line's end */
        uint64_t dropped;  /* bytes a destination failed to take, once for each destination */
        uint64_t limited;  /* bytes not written because of global_size_max */
        uint64_t errors;   /* failed attempts to write */
} LogsCounts;

typedef struct Logs Logs;

/*
 * Opens every destination. A log file that exists is appended to, and its size counts for the limits, as with conmon; a
 * new one has mode 0640 less umask. journald that is not there is no error: it may come.
 *
 * Returns 0 with the logs owned by the caller. On a wrong option or a file that cannot be opened, a negative errno with
 * the text a user expects of conmon, without prefix or newline, in @ret_message (owned by the caller); -ENOMEM without
 * a text (NULL).
 */
int logs_new(const LogsOptions *options, char **ret_message, Logs **ret);
/* Closes what is open and writes nothing more: logs_end() does. NULL is fine. */
Logs *logs_free(Logs *logs);
DEFINE_CLEANUP(Logs *, logs_free);

/* Was the driver passthrough among the paths? Then the container has the monitor's own stdio and nothing is to be read.
 */
bool logs_passthrough(const Logs *logs);
/* Is @driver among them? */
bool logs_has(const Logs *logs, LogsDriver driver);

/*
 * Takes @n bytes that @stream's pipe had at @now; all of them, always. @data is not needed afterwards. The more at once
 * the better: records of one call share one timestamp and one system call. 64 KiB, a pipe's content, is plenty.
 */
void logs_write(Logs *logs, LogsStream stream, const uint8_t *data, size_t n, const Clk *now);

/*
 * The monotonic time at which an unfinished line is due to be written, UINT64_MAX for none. Moves with every
 * logs_write() that leaves a line unfinished. A timer need not follow each move: let it fire, call
 * logs_flush_partial(), which writes only what is due by then, and set it to the new deadline.
 */
uint64_t logs_deadline(const Logs *logs);
void logs_flush_partial(Logs *logs, const Clk *now);

/*
 * What conmon does on "2 0 0" through ctl: go on in a new file at PATH (made as PATH.tmp and renamed, so that it
 * appears at once), since somebody has renamed the old one away. Nothing is lost: what was taken before is in the old
 * file. With rotate, a file still in its place is rotated. Without, it is kept and written on, where conmon would
 * discard its content; whoever waits with inotify for the reopened file hears IN_MODIFY instead of IN_MOVED_TO.
 *
 * Returns 0, or a negative errno: the old file is still written to, and it is tried again with later writes, at most
 * once a second. journald needs none of this.
 */
int logs_reopen(Logs *logs, const Clk *now);

/* No more input: writes what is unfinished as partial records, and says what was lost if that is not said yet. Then
 * logs_write() must not be called any more. */
void logs_end(Logs *logs, const Clk *now);
/* fsync()s the log file unless no_sync, and waits for the first reader of a FIFO as logpipe_linger() does. Returns 0 or
 * a negative errno. It can take as long as the disk likes: conmon does it before it writes the exit file, a caller that
 * can should do it afterwards. */
int logs_sync(Logs *logs);

/* What became of @stream so far. */
LogsCounts logs_counts(const Logs *logs, LogsStream stream);
