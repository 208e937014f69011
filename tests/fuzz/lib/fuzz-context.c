#include <stdint.h>
#include <string.h>
#include "contextmatch.h"
#include "contextrecord.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that is understood is written again, no longer than it was and always in the same way; its name matches
 * itself. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char once[CONTEXT_FILE_MAX + 1], twice[CONTEXT_FILE_MAX + 1], name[CONTEXT_NAME_MAX + 1];
        ContextRecord record, again;
        const char *operations[2] = { "StartContainer", NULL };
        ContextKeys keys;
        int len;

        (void) util_copy_bounded(name, sizeof(name), (const char *) data, size);
        memset(&record, 0, sizeof(record));
        strcpy(record.identity.container_id, "c");
        keys = contextmatch_keys(&record.identity);
        (void) contextmatch_name_may(name, &keys, operations);
        (void) contextmatch_name_of_pid(name, 1);

        if (context_parse((const char *) data, size, &record) < 0)
                return 0;

        len = context_format(&record, once, sizeof(once));
        if (len < 0 || (size_t) len > size || context_parse(once, (size_t) len, &again) < 0 ||
            context_format(&again, twice, sizeof(twice)) != len || strcmp(once, twice) != 0)
                abort();

        contextmatch_live_name(&record, name);
        operations[0] = record.operation;
        keys = contextmatch_keys(&record.identity);
        if (!contextmatch_version_known(name) || !contextmatch_name_of_pid(name, record.pid) ||
            contextmatch_name_may(name, &keys, operations) !=
                    (contextmatch_level(&record.identity, &again.identity) != CONTEXT_LEVEL_NONE))
                abort();
        return 0;
}
