#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "logoption.h"

static const struct {
        const char *name;
        LogOptionKind kind;
} drivers[] = {
        { "k8s-file", LOGOPTION_K8S_FILE },
        { "journald", LOGOPTION_JOURNALD },
        { "passthrough", LOGOPTION_PASSTHROUGH },
        { "none", LOGOPTION_NONE },
        { "off", LOGOPTION_NONE },
        { "null", LOGOPTION_NONE },
};

static _printf_(2, 3) int refuse(char *ret_message, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(ret_message, LOGOPTION_MESSAGE_MAX, format, ap);
        va_end(ap);
        return -EINVAL;
}

int logoption_path(const char *value, char ret_message[static LOGOPTION_MESSAGE_MAX], LogOptionKind *ret_kind,
                   const char **ret_path) {
        const char *colon = strchr(value, ':');
        const char *path = NULL;
        size_t len = colon ? (size_t) (colon - value) : strlen(value);

        if (value[strspn(value, ":")] == '\0')
                return refuse(ret_message, "log-path must not be empty");

        if (value[0] == '/' || value[0] == ':')
                path = value + strspn(value, ":");

        for (size_t i = 0; !path && i < ARRAY_SIZE(drivers); i++) {
                if (strlen(drivers[i].name) != len || memcmp(drivers[i].name, value, len) != 0)
                        continue;
                if (drivers[i].kind != LOGOPTION_K8S_FILE) {
                        *ret_kind = drivers[i].kind;
                        *ret_path = NULL;
                        return 0;
                }
                path = colon ? colon + strspn(colon, ":") : "";
                if (*path == '\0')
                        return refuse(ret_message, "k8s-file requires a filename");
        }

        if (!path && colon)
                return refuse(ret_message, "No such log driver %.*s", (int) MIN(len, (size_t) LOGOPTION_MESSAGE_MAX),
                              value);

        *ret_kind = LOGOPTION_K8S_FILE;
        *ret_path = path ? path : value;
        return 0;
}

int logoption_label(const char *value, char ret_message[static LOGOPTION_MESSAGE_MAX]) {
        const char *equals = strchr(value, '=');

        if (*value == '=')
                return refuse(ret_message, "Container labels must be in format LABEL=VALUE (no LABEL present in '%s')",
                              value);
        if (!equals || strchr(equals + 1, '='))
                return refuse(
                        ret_message,
                        "Container labels must be in format LABEL=VALUE (none or more than one '=' present in '%s')",
                        value);
        if (value + strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != equals)
                return refuse(
                        ret_message,
                        "Container label names must contain only uppercase letters, numbers and underscore (in '%s')",
                        value);
        return 0;
}
