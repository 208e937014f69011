#include <stddef.h>
#include <stdint.h>
#include "bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static Bundle bundle;
        _cleanup_(bundle_parser_freep) BundleParser *parser = bundle_parser_new(&bundle);
        Identity identity;
        size_t half = size / 2;

        if (!parser)
                return 0;
        if (bundle_parser_feed(parser, (const char *) data, half) < 0 ||
            (size > half && bundle_parser_feed(parser, (const char *) data + half, size - half) < 0) ||
            bundle_parser_feed(parser, NULL, 0) < 0)
                return 0;
        bundle_identity(&bundle, MANAGER_CRIO, "c1", &identity);
        return 0;
}
