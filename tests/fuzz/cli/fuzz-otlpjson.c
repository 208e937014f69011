#include <yajl/yajl_tree.h>
#include "otlpjson.h"

static bool want(const Podspan__Otlp__Span *span, void *userdata) {
        return span != userdata;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a store holds, whoever wrote it, must come out as JSON that a strict parser takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_otlpjson_ Podspan__Otlp__TracesData *message = NULL;
        _cleanup_free_ char *text = NULL;
        size_t text_size = 0;
        yajl_val tree;
        FILE *out;
        Json *json;

        if (otlpjson_unpack(data, size, &message) < 0)
                return 0;

        out = open_memstream(&text, &text_size);
        json = json_new(out);
        if (!out || !json)
                abort();
        json_array(json);
        otlpjson_resource_spans(json, message, want, NULL);
        json_array_end(json);
        if (json_finish(json) < 0)
                abort();
        json_free(json);
        (void) fclose(out);

        tree = yajl_tree_parse(text, NULL, 0);
        if (!tree)
                abort();
        yajl_tree_free(tree);
        return 0;
}
