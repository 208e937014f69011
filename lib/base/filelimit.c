#include <signal.h>
#include "filelimit.h"

static struct sigaction before;
static bool ignored;

void filelimit_ignore(void) {
        static const struct sigaction ignore = { .sa_handler = SIG_IGN };

        if (!ignored)
                ignored = sigaction(SIGXFSZ, &ignore, &before) == 0;
}

void filelimit_restore(void) {
        if (ignored)
                (void) sigaction(SIGXFSZ, &before, NULL);
}

bool filelimit_was_default(void) {
        return ignored && before.sa_handler == SIG_DFL;
}
