#include <stdint.h>
#include <string.h>
#include "logoption.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A value is taken or has a text that says why not; a path is a part of it and not empty. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *value = strndup((const char *) data, size);
        char message[LOGOPTION_MESSAGE_MAX] = "";
        LogOptionKind kind;
        const char *path;

        if (!value)
                return 0;
        if (logoption_path(value, message, &kind, &path) < 0) {
                if (message[0] == '\0' || strlen(message) >= sizeof(message))
                        abort();
        } else if ((kind == LOGOPTION_K8S_FILE) != (path != NULL) ||
                   (path && (*path == '\0' || path < value || path >= value + strlen(value))))
                abort();

        message[0] = '\0';
        if ((logoption_label(value, message) < 0) != (message[0] != '\0'))
                abort();
        return 0;
}
