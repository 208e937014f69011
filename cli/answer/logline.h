#pragma once

/*
 * Log lines of kubelet and runtimes
 *
 * What one line of a journal says about one container: severity, whether it is about this container or its pod, and why
 * kubelet stopped it. journald gives every line that a program writes to standard error the same priority, so severity
 * is read from the text: klog's first letter, `level=` of logrus, or the members of a JSON line. Lines are hostile: a
 * probe's output, for example, is a pod's own text. So messages are compared as a whole, and values are read by their
 * keys. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>

#define LOGLINE_MAX 8192 /* bytes of a line; of a longer one the first */

typedef enum LoglineSeverity {
        LOGLINE_NONE, /* the line does not say */
        LOGLINE_DEBUG,
        LOGLINE_INFO,
        LOGLINE_WARNING,
        LOGLINE_ERROR,
} LoglineSeverity;

/* Whom the lines are looked through for. "" is not known. */
typedef struct LoglineSubject {
        const char *pod_uid;
        const char *pod_name;
        const char *pod_namespace;
        const char *sandbox_id;
        const char *container_name;
        const char *container_id;
} LoglineSubject;

typedef struct Logline {
        LoglineSeverity severity;
        bool about;         /* names the container, or the pod and no other container of it */
        bool decisive;      /* one of the messages that say why, whatever its severity */
        bool probe;         /* kubelet stops the container because its probe failed */
        const char *reason; /* why kubelet stops the container, static; NULL if the line does not say */
} Logline;

/* Reads the @n bytes at @s. What is no log line of a known form has neither severity nor reason. */
void logline_read(const char *s, size_t n, const LoglineSubject *subject, Logline *ret);

/* "warning" … "" for LOGLINE_NONE. */
const char *logline_severity_word(LoglineSeverity severity);
