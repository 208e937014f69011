#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "logjournal.h"
#include "logk8s.h"
#include "loglines.h"
#include "logoption.h"
#include "logs.h"

struct Logs {
        LogK8s *k8s;         /* NULL: none */
        LogJournal *journal; /* NULL: none */
        bool passthrough;
        bool no_sync;
        LogsCounts counts[LOGS_STREAM_MAX];
        LogLines lines[LOGS_STREAM_MAX];
};

/* What the --log-path values ask for together. */
typedef struct Wanted {
        const char *k8s_path;
        bool journal;
        bool passthrough;
} Wanted;

static _printf_(3, 4) int refuse(char **ret_message, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret_message, format, ap) < 0)
                *ret_message = NULL;
        va_end(ap);
        return *ret_message ? error : -ENOMEM;
}

static int read_paths(const LogsOptions *options, char **ret_message, Wanted *ret) {
        char message[LOGOPTION_MESSAGE_MAX];
        Wanted wanted = { 0 };

        if (options->n_paths == 0)
                return refuse(ret_message, -EINVAL, "Log driver not provided. Use --log-path");

        for (size_t i = 0; i < options->n_paths; i++) {
                LogOptionKind kind;
                const char *path;

                if (logoption_path(options->paths[i], message, &kind, &path) < 0)
                        return refuse(ret_message, -EINVAL, "%s", message);
                switch (kind) {
                case LOGOPTION_K8S_FILE:
                        wanted.k8s_path = path;
                        break;
                case LOGOPTION_JOURNALD:
                        wanted.journal = true;
                        break;
                case LOGOPTION_PASSTHROUGH:
                        wanted.passthrough = true;
                        break;
                case LOGOPTION_NONE:
                        break;
                }
        }
        *ret = wanted;
        return 0;
}

static int check_journal(const LogsOptions *options, char **ret_message) {
        char message[LOGOPTION_MESSAGE_MAX];

        if (!options->id)
                return refuse(ret_message, -EINVAL, "Container ID must be provided and of the correct length");
        if (strlen(options->id) < LOGJOURNAL_ID_MIN)
                return refuse(ret_message, -EINVAL, "Container ID must be longer than 12 characters");
        for (size_t i = 0; i < options->n_labels; i++)
                if (logoption_label(options->labels[i], message) < 0)
                        return refuse(ret_message, -EINVAL, "%s", message);
        return 0;
}

static int check_rotation(const LogsOptions *options, char **ret_message) {
        if (options->max_files < 0)
                return refuse(ret_message, -EINVAL, "log-max-files must be non-negative, got %lld",
                              (long long) options->max_files);
        if (options->rotate && options->max_files == 0)
                return refuse(ret_message, -EINVAL,
                              "log-max-files must be at least 1 when log-rotate is enabled, got 0");
        return 0;
}

/* Opens the file even if what goes to journald is wrong: in conmon's order, so that its errors come in that order. */
static int open_drivers(Logs *logs, const Wanted *wanted, const LogsOptions *options, char **ret_message) {
        int r;

        if (wanted->k8s_path) {
                r = logk8s_new(options, wanted->k8s_path, logs->counts, &logs->k8s);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        return refuse(ret_message, r, "Failed to open log file %s", strerrordesc_np(-r));
                if (!wanted->journal && options->tag)
                        return refuse(ret_message, -EINVAL, "k8s-file doesn't support --log-tag");
                if (!wanted->journal && options->n_labels > 0)
                        return refuse(ret_message, -EINVAL, "k8s-file doesn't support --log-label");
        }
        if (!wanted->journal)
                return 0;

        r = check_journal(options, ret_message);
        if (r < 0)
                return r;
        r = logjournal_new(options, logs->counts, &logs->journal);
        return r < 0 && r != -ENOMEM ? refuse(ret_message, r, "Failed to use the journal: %s", strerrordesc_np(-r)) : r;
}

int logs_new(const LogsOptions *options, char **ret_message, Logs **ret) {
        _cleanup_(logs_freep) Logs *logs = NULL;
        Wanted wanted;
        int r;

        *ret_message = NULL;
        r = check_rotation(options, ret_message);
        if (r < 0)
                return r;
        r = read_paths(options, ret_message, &wanted);
        if (r < 0)
                return r;

        logs = malloc(sizeof(*logs)); /* not zeroed: what holds lines stays untouched until it is used */
        if (!logs)
                return -ENOMEM;
        memset(logs, 0, offsetof(Logs, lines));
        for (size_t i = 0; i < LOGS_STREAM_MAX; i++)
                loglines_init(&logs->lines[i]);
        logs->passthrough = wanted.passthrough;
        logs->no_sync = options->no_sync;

        r = open_drivers(logs, &wanted, options, ret_message);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(logs);
        return 0;
}

Logs *logs_free(Logs *logs) {
        if (!logs)
                return NULL;
        logs->k8s = logk8s_free(logs->k8s);
        logs->journal = logjournal_free(logs->journal);
        free(logs);
        return NULL;
}

bool logs_passthrough(const Logs *logs) {
        return logs->passthrough;
}

bool logs_has(const Logs *logs, LogsDriver driver) {
        return driver == LOGS_K8S_FILE ? logs->k8s != NULL : logs->journal != NULL;
}

static void begin(Logs *logs, LogsStream stream, const Clk *now) {
        if (logs->k8s)
                logk8s_begin(logs->k8s, stream, now);
        if (logs->journal)
                logjournal_begin(logs->journal, stream, now);
}

static void append(Logs *logs, LogsStream stream, const LogLinesRecord *record) {
        if (record->partial)
                logs->counts[stream].partials++;
        else
                logs->counts[stream].lines++;
        if (logs->k8s)
                logk8s_append(logs->k8s, record);
        if (logs->journal)
                logjournal_append(logs->journal, record);
}

static void flush(Logs *logs) {
        if (logs->k8s)
                logk8s_flush(logs->k8s);
}

/* The short way of what most of the output is: lines that need no look, to a file alone. */
static void take_lines(Logs *logs, LogsStream stream, const uint8_t **data, size_t *n) {
        uint64_t lines;
        size_t taken;

        if (!logs->k8s || logs->journal || !loglines_at_begin(&logs->lines[stream]))
                return;
        taken = logk8s_append_lines(logs->k8s, *data, *n, &lines);
        *data += taken;
        *n -= taken;
        logs->counts[stream].lines += lines;
}

void logs_write(Logs *logs, LogsStream stream, const uint8_t *data, size_t n, const Clk *now) {
        LogLinesRecord record;
        bool more;

        logs->counts[stream].bytes += n;
        if (!logs->k8s && !logs->journal)
                return;

        begin(logs, stream, now);
        do {
                take_lines(logs, stream, &data, &n);
                more = loglines_next(&logs->lines[stream], &data, &n, now->monotonic_ns, &record);
                if (more)
                        append(logs, stream, &record);
        } while (more);
        flush(logs);
}

uint64_t logs_deadline(const Logs *logs) {
        return MIN(loglines_deadline(&logs->lines[LOGS_STDOUT]), loglines_deadline(&logs->lines[LOGS_STDERR]));
}

/* Writes what is held of every stream that is due at @due_ns. */
static void write_rests(Logs *logs, uint64_t due_ns, const Clk *now) {
        for (LogsStream stream = 0; stream < LOGS_STREAM_MAX; stream++) {
                LogLinesRecord record;

                if (loglines_deadline(&logs->lines[stream]) > due_ns || !loglines_rest(&logs->lines[stream], &record))
                        continue;
                begin(logs, stream, now);
                append(logs, stream, &record);
                flush(logs);
        }
}

void logs_flush_partial(Logs *logs, const Clk *now) {
        write_rests(logs, now->monotonic_ns, now);
}

int logs_reopen(Logs *logs, const Clk *now) {
        return logs->k8s ? logk8s_reopen(logs->k8s, now) : 0;
}

void logs_end(Logs *logs, const Clk *now) {
        write_rests(logs, UINT64_MAX, now);
        if (logs->k8s)
                logk8s_end(logs->k8s, now);
        if (logs->journal)
                logjournal_end(logs->journal, now);
}

int logs_sync(Logs *logs) {
        return logs->k8s ? logk8s_sync(logs->k8s, !logs->no_sync) : 0;
}

LogsCounts logs_counts(const Logs *logs, LogsStream stream) {
        return logs->counts[stream];
}
