#include <stdlib.h>
#include <string.h>
#include "crilog.h"
#include "logline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A reason or a probe is only in a line about the subject; the log's lines end within their bounds. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const LoglineSubject subject = { "11111111-2222", "web",  "default",
                                                "fedcba987654",  "main", "0123456789abcdef" };
        static Crilog log;
        Logline line;

        logline_read((const char *) data, size, &subject, &line);
        if ((line.reason || line.probe || line.decisive) && !line.about)
                abort();

        crilog_tail((const char *) data, size, false, &log);
        if (log.n > CRILOG_LINES)
                abort();
        for (size_t i = 0; i < log.n; i++)
                if (strlen(log.lines[i]) >= CRILOG_TEXT_MAX)
                        abort();
        return 0;
}
