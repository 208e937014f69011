#include <stdint.h>
#include <string.h>
#include "util.h"
#include "watchstate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read of a record is printable, and comes out of a record that is written of it as it was. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char boot[WATCHSTATE_BOOT_SIZE], boot_again[WATCHSTATE_BOOT_SIZE], text[WATCHSTATE_MAX];
        WatchState state, again;

        if (watchstate_parse((const char *) data, size, &state, boot) < 0)
                return 0;
        if (state.kind >= WATCHSTATE_DIED || state.missing >= _WATCHSTATE_MISSING_MAX || state.pid <= 0 ||
            !util_utf8_valid(state.reason, strnlen(state.reason, sizeof(state.reason))))
                abort();
        for (const char *c = state.reason; *c; c++)
                if ((unsigned char) *c < ' ' || *c == 0x7f)
                        abort();
        if (watchstate_parse(text, watchstate_format(&state, boot, text), &again, boot_again) < 0 ||
            again.kind != state.kind || again.missing != state.missing || again.pid != state.pid ||
            again.since_ns != state.since_ns || strcmp(again.reason, state.reason) != 0 ||
            strcmp(boot, boot_again) != 0)
                abort();
        return 0;
}
