#include <stdint.h>
#include "config.h"
#include "configfile.h"

static int on_key(const char *key, const char *value, const char *origin, void *userdata) {
        return key && value && origin && userdata ? 0 : -EINVAL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *message = NULL;
        Config config;
        int r;

        if (config_defaults(&config) < 0)
                return 0;

        r = configfile_parse(&config, "fuzz.conf", (const char *) data, size, &message);
        if ((r < 0) != (message != NULL) || config_dump(&config, on_key, &config) < 0)
                abort();

        config_deinit(&config);
        return 0;
}
