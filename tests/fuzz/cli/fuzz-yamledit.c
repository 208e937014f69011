#include <string.h>
#include "yamledit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is set is found again, setting it twice is setting it once, and nothing else is lost. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const keys[] = { "containerRuntimeEndpoint", "tracing.samplingRatePerMillion" };
        _cleanup_bytes_ Bytes text = BYTES_NULL, once = BYTES_NULL, twice = BYTES_NULL;
        YamlScalar at = {};
        YamlProblem problem;

        if (bytes_dup(data, size, &text) < 0)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                if (yamledit_find(text.p, text.n, keys[i], &at, &problem) < 0)
                        continue;
                if (at.from > at.to || at.to > size)
                        abort();
                free(at.value);
        }
        if (yamledit_set(text.p, text.n, keys[0], "unix:///x", &once, &problem) < 0)
                return 0;
        if (yamledit_find(once.p, once.n, keys[0], &at, &problem) < 0)
                abort();
        if (strcmp(at.value, "unix:///x") != 0)
                abort();
        free(at.value);
        if (yamledit_set(once.p, once.n, keys[0], "unix:///x", &twice, &problem) < 0 || !bytes_equal(&once, &twice))
                abort();
        return 0;
}
