#include <stdint.h>
#include <string.h>
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* However the bytes are cut in two, the outcome is the same, and what was captured is a name. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char links[] = "tracing.k8s.io/traceparent";
        static State whole, cut, bundle;
        _cleanup_(state_parser_freep) StateParser *one = state_parser_new(&whole, links);
        _cleanup_(state_parser_freep) StateParser *two = state_parser_new(&cut, links);
        _cleanup_(state_parser_freep) StateParser *config = state_parser_new_config(&bundle, "ID", "/b", links);
        size_t at = size > 0 ? data[size - 1] % size : 0;
        Identity identity;
        bool sandbox;
        int r, s;

        if (!one || !two || !config)
                return 0;

        r = state_parser_feed(one, data, size);
        s = state_parser_feed(two, data, at);
        if (s == 0)
                s = state_parser_feed(two, data + at, size - at);
        if (r != s || whole.pid != cut.pid || whole.n_links != cut.n_links)
                abort();

        if (r == 1) {
                state_identity(&whole, state_manager(&whole), &identity, &sandbox);
                if (!util_id_valid(whole.id) || whole.pid < 0 || whole.n_links > STATE_LINKS_MAX ||
                    (sandbox ? identity.container_id[0] != '\0' || identity.sandbox_id[0] == '\0'
                             : identity.container_id[0] == '\0'))
                        abort();
        }

        /* As a bundle's configuration: nothing in it says whose it is. */
        (void) state_parser_feed(config, data, size);
        if (strcmp(bundle.id, "ID") != 0 || strcmp(bundle.bundle, "/b") != 0 || bundle.pid != 0)
                abort();
        return 0;
}
