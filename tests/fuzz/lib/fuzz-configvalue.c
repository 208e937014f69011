#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "configvalue.h"
#include "util.h"

static int on_pair(const char *name, const char *value, void *userdata) {
        (void) userdata;
        return name[0] && value ? 0 : -EINVAL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A value of a configuration, as each type of key reads it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *s = malloc(size + 1);
        ConfigEndpoint secure, insecure;
        const char *reason = NULL;
        char text[64];
        int r;

        if (!s)
                return 0;
        memcpy(s, data, size);
        s[size] = '\0';

        r = configvalue_endpoint(s, false, &secure, &reason);
        if (r != configvalue_endpoint(s, true, &insecure, &reason) || (r < 0) != (reason != NULL))
                abort();
        if (r == 0 && (secure.local ? secure.path[0] != '/' || secure.tls : !secure.host[0] || secure.port == 0))
                abort();

        reason = NULL;
        if (configvalue_unquote((const char *) data, size, text, sizeof(text), &reason) < 0 && !reason)
                abort();
        reason = NULL;
        if (configvalue_pairs(s, on_pair, NULL, &reason) == -EINVAL && !reason)
                abort();
        return 0;
}
