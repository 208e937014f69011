/* What follows an exit event or an EVENT_VICTIM: a kind byte, the wait status, then the record. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "death.h"

#define VICTIM 0x80 /* in the kind byte */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Event event = { .time_ns = UINT64_MAX / 2 };
        VerdictFacts facts;
        EventVictim victim;
        EventDeath death;

        if (size < 3)
                return 0;
        event.flags = data[0] & EVENT_OOM;
        event.status = data[1] | data[2] << 8;
        if (data[0] & VICTIM) {
                if (death_parse_victim((const char *) data + 3, size - 3, &victim) == 0 &&
                    death_scope(&victim, "c1", "1a2b3c4d-0000") >= _VERDICT_SCOPE_MAX)
                        __builtin_trap();
                return 0;
        }
        if (death_parse((const char *) data + 3, size - 3, &death) < 0)
                return 0;
        death_facts(&death, NULL, &event, event.time_ns, 0, "c2", &facts);
        if (verdict_decide(&facts).verdict >= _VERDICT_MAX || (facts.kill_program && strlen(facts.kill_program) > 15))
                __builtin_trap();
        (void) death_orphaned(&death);
        return 0;
}
