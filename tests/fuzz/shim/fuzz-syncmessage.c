#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>
#include "syncmessage.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One line, and where the text is UTF-8, JSON that says the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const path[] = { "message", NULL };
        _cleanup_free_ char *out = NULL, *text = NULL;
        const char *message;
        yajl_val tree;
        size_t len;

        if (size > 8191 || syncmessage_format("data", -1, (const char *) data, size, &out, &len) < 0)
                return 0;
        if (out[len - 1] != '\n' || memchr(out, '\n', len - 1) || memchr(out, '\0', len))
                abort();
        if (!util_utf8_valid((const char *) data, size) || memchr(data, '\0', size))
                return 0;

        text = strndup(out, len);
        tree = text ? yajl_tree_parse(text, NULL, 0) : NULL;
        if (!tree)
                abort();
        message = YAJL_GET_STRING(yajl_tree_get(tree, (const char **) path, yajl_t_string));
        if (size > 0 && (!message || strlen(message) != size || memcmp(message, data, size) != 0))
                abort();
        yajl_tree_free(tree);
        return 0;
}
