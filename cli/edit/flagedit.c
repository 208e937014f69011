#include <errno.h>
#include <string.h>
#include "flagedit.h"

int flagedit_argv(const char *cmdline, size_t size, const char *flag, char **ret) {
        size_t flag_n = strlen(flag), found_n = 0;
        const char *found = NULL;

        for (size_t i = 0; i < size;) {
                const char *arg = cmdline + i;
                size_t len = strnlen(arg, size - i);

                i += len + 1;
                if (len < flag_n || memcmp(arg, flag, flag_n) != 0)
                        continue;
                if (len > flag_n && arg[flag_n] == '=') {
                        found = arg + flag_n + 1;
                        found_n = len - flag_n - 1;
                } else if (len == flag_n && i < size) {
                        found = cmdline + i;
                        found_n = strnlen(found, size - i);
                        i += found_n + 1;
                }
        }
        if (!found)
                return -ENOENT;
        *ret = strndup(found, found_n);
        return *ret ? 0 : -ENOMEM;
}
