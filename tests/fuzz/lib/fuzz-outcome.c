#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "outcome.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A runtime's words: they fit, stand on one line, and UTF-8 stays UTF-8. */
static void words(const uint8_t *data, size_t size) {
        char out[OUTCOME_WHY_MAX + 1], *text = strndup((const char *) data, size);
        size_t n;

        if (!text)
                return;
        n = outcome_words(text, out);
        if (n > OUTCOME_WHY_MAX || strlen(out) != n || strpbrk(out, "\n\r\t") ||
            (util_utf8_valid(text, strlen(text)) && !util_utf8_valid(out, n)))
                abort();
        free(text);
}

/* A span: what failed says why, what did not says nothing. */
static void span(const uint8_t *data, size_t size) {
        Podspan__Otlp__Span *message = podspan__otlp__span__unpack(NULL, size, data);
        char why[OUTCOME_WHY_MAX + 1];
        OutcomeFacts facts;
        Outcome outcome;
        const char *id;

        if (!message)
                return;
        outcome_read(message, &facts);
        outcome = outcome_judge(&facts);
        if ((outcome_why(&facts, outcome, why) > 0) != (outcome != OUTCOME_OK))
                abort();
        if (outcome_stop(&facts, &id) == OUTCOME_STOP_NONE && id)
                abort();
        podspan__otlp__span__free_unpacked(message, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        words(data, size);
        span(data, size);
        return 0;
}
