#pragma once

/*
 * A container's own log
 *
 * The last lines of a log file as kubelet has runtimes write it: "TIME STREAM TAG TEXT", where tag P means that the
 * line goes on in the next record. The file is the pod's own text. crilog_parse() does no I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRILOG_LINES    10           /* that are read at most */
#define CRILOG_TAIL_MAX (64U * 1024) /* bytes of the file's end that are looked at */
#define CRILOG_TEXT_MAX 512          /* bytes of one line that are kept */
#define CRILOG_PODS_DIR "/var/log/pods"

typedef struct CrilogRecord {
        const char *stream; /* "stdout" or "stderr", not ended */
        size_t n_stream;
        const char *text;
        size_t n_text;
        bool partial;
} CrilogRecord;

/* Reads one line without its end. False if it has not this form. */
bool crilog_parse(const char *s, size_t n, CrilogRecord *ret);

typedef struct Crilog {
        char lines[CRILOG_LINES][CRILOG_TEXT_MAX]; /* oldest first */
        size_t n;
} Crilog;

/* Takes the last lines of the @n bytes at @s, which begin in the middle of a line if @cut. */
void crilog_tail(const char *s, size_t n, bool cut, Crilog *ret);

/*
 * Reads the last lines of the log of the container @name, started for the @attempt-th time, of a pod, below @dir
 * (kubelet's folder of pods' logs). Follows no symbolic link. Returns 0, -EINVAL if a name cannot be one of a path,
 * -ENOENT, or another negative errno.
 */
int crilog_read(const char *dir, const char *pod_namespace, const char *pod_name, const char *pod_uid, const char *name,
                int64_t attempt, Crilog *ret);
