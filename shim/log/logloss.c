#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "logloss.h"

void logloss_add(LogLoss *loss, LogsStream stream, uint64_t bytes, int error) {
        loss->counts[stream].errors++;
        loss->counts[stream].dropped += bytes;
        loss->bytes += bytes;
        loss->error = error;
        if (loss->out)
                return;

        loss->out = true;
        if (loss->hooks->lost)
                loss->hooks->lost(loss->hooks->userdata,
                                  &(LogsLoss){ .driver = loss->driver, .stream = stream, .error = error });
}

void logloss_over(LogLoss *loss) {
        loss->out = false;
}

size_t logloss_text(const LogLoss *loss, uint64_t now_ns, bool final, char ret_text[static LOGLOSS_TEXT_MAX]) {
        int len;

        if (loss->bytes == 0 || (!final && loss->noted_ns > 0 && now_ns - loss->noted_ns < LOGLOSS_NOTE_NS))
                return 0;

        len = snprintf(ret_text, LOGLOSS_TEXT_MAX, "podspan: %" PRIu64 " bytes of log lost: %s", loss->bytes,
                       strerrordesc_np(-loss->error) ?: "unknown error");
        return (size_t) MIN(len, LOGLOSS_TEXT_MAX - 1);
}

void logloss_noted(LogLoss *loss, uint64_t now_ns) {
        loss->bytes = 0;
        loss->error = 0;
        loss->noted_ns = now_ns;
}
