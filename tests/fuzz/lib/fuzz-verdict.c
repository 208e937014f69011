#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "otlp.pb-c.h"
#include "verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any span has facts, the facts have one decision, and only unknown becomes another verdict. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Podspan__Otlp__Span *message = podspan__otlp__span__unpack(NULL, size, data);
        VerdictDecision decision, settled;
        VerdictFacts facts;
        Verdict emitted;
        bool disagrees;

        if (!message)
                return 0;
        verdict_read(message, &facts, &emitted);
        decision = verdict_decide(&facts);
        if (!*verdict_word(decision.verdict) || (decision.verdict == VERDICT_UNKNOWN) > (decision.missing != 0) ||
            decision.missing >= _VERDICT_MISSING_END)
                abort();

        facts.in_pod = true;
        decision = verdict_decide(&facts);
        settled = verdict_settle(&facts, decision.verdict, &disagrees);
        if (disagrees || (decision.verdict != VERDICT_UNKNOWN && settled.verdict != decision.verdict))
                abort();
        settled = verdict_settle(&facts, emitted, &disagrees);
        if (emitted != VERDICT_UNKNOWN && settled.verdict != emitted)
                abort();
        podspan__otlp__span__free_unpacked(message, NULL);
        return 0;
}
