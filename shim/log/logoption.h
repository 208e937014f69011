#pragma once

/*
 * Log options
 *
 * Reads --log-path and --log-label values as conmon does, with its error texts. No I/O.
 */

#include "logs.h"

typedef enum LogOptionKind {
        LOGOPTION_NONE,
        LOGOPTION_PASSTHROUGH,
        LOGOPTION_JOURNALD,
        LOGOPTION_K8S_FILE,
} LogOptionKind;

#define LOGOPTION_MESSAGE_MAX 256 /* of an error text, NUL included; a longer value is cut in it */

/*
 * Reads one --log-path value: PATH, :PATH, k8s-file:PATH, journald[:ANY], none|off|null[:ANY], passthrough[:ANY].
 * Returns 0 with the kind and, for a file, its path (a part of @value) in @ret_path (else NULL), or -EINVAL with the
 * text in @ret_message.
 */
int logoption_path(const char *value, char ret_message[static LOGOPTION_MESSAGE_MAX], LogOptionKind *ret_kind,
                   const char **ret_path);

/* Is @value a label, NAME=VALUE, NAME of [A-Z0-9_], exactly one '='? 0, or -EINVAL with the text in @ret_message. */
int logoption_label(const char *value, char ret_message[static LOGOPTION_MESSAGE_MAX]);
