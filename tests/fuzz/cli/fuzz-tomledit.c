#include <string.h>
#include "tomledit.h"

static int check(const TomlItem *item, void *userdata) {
        const size_t *size = userdata;

        if (item->line_from >= item->line_to || item->line_to > *size || item->from > item->to || item->to > *size ||
            strlen(item->path) >= TOMLEDIT_PATH_MAX)
                abort();
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was TOML still is when a key was set, and the key has its value. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_bytes_ Bytes text = BYTES_NULL, edited = BYTES_NULL, added = BYTES_NULL;
        _cleanup_free_ char *value = NULL;

        if (bytes_dup(data, size, &text) < 0 || tomledit_walk(text.p, text.n, check, &size) < 0)
                return 0;
        if (tomledit_set(text.p, text.n, "t", "t", "k", "'v'", &edited) >= 0 &&
            (tomledit_get(edited.p, edited.n, "t" TOMLEDIT_SEP "k", &value) < 0 || strcmp(value, "v") != 0))
                abort();
        if (tomledit_add(text.p, text.n, "imports", "x", &added) >= 0 &&
            tomledit_walk(added.p, added.n, check, &added.n) < 0)
                abort();
        return 0;
}
