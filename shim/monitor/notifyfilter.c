#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include "notifyfilter.h"
#include "util.h"

static const char *const lines[] = { "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "WATCHDOG=trigger" };
static const char *const keys[] = { "STATUS=", "ERRNO=", "BUSERROR=", "MONOTONIC_USEC=" };

static bool allowed(const char *s, size_t len) {
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
                if (len == strlen(lines[i]) && memcmp(s, lines[i], len) == 0)
                        return true;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (len >= strlen(keys[i]) && memcmp(s, keys[i], strlen(keys[i])) == 0)
                        return true;
        return false;
}

size_t notifyfilter_run(const char *s, size_t len, char *ret) {
        size_t n = 0;

        assert(s || len == 0);
        assert(ret);

        /* Who reads C strings does not see what is behind a NUL; nor does who is asked here. */
        if (len > 0)
                len = strnlen(s, len);

        for (size_t at = 0; at < len;) {
                size_t end = at;

                while (end < len && s[end] != '\n' && s[end] != '\r')
                        end++;
                if (allowed(s + at, end - at)) {
                        if (n > 0)
                                ret[n++] = '\n';
                        memcpy(ret + n, s + at, end - at);
                        n += end - at;
                }
                at = end + 1;
        }
        return n;
}
