#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "envcarrier.h"
#include "util.h"

#define TRACEPARENT "TRACEPARENT="
#define TRACESTATE  "TRACESTATE="
#define BAGGAGE     "BAGGAGE="

/* The value in @variable if it is that of @name (with its '='), else NULL. */
static const char *value_of(const char *variable, const char *name) {
        size_t len = strlen(name);

        return strncmp(variable, name, len) == 0 ? variable + len : NULL;
}

/* The first wins, as with getenv(3). */
static const char *find(char *const *envp, const char *name) {
        for (; envp && *envp; envp++) {
                const char *value = value_of(*envp, name);

                if (value)
                        return value;
        }
        return NULL;
}

static bool tracestate_valid(const char *value) {
        char canonical[TRACECONTEXT_TRACESTATE_MAX + 1];
        size_t len = strnlen(value, TRACECONTEXT_TRACESTATE_MAX + 1);

        return len <= TRACECONTEXT_TRACESTATE_MAX &&
               tracecontext_tracestate(value, len, canonical, sizeof(canonical)) > 0;
}

int envcarrier_get(char *const *envp, TraceContext *ret, const char **ret_tracestate) {
        const char *traceparent, *tracestate;
        int r;

        assert(ret);

        traceparent = find(envp, TRACEPARENT);
        if (!traceparent)
                return -ENOENT;

        r = tracecontext_parse(traceparent, strnlen(traceparent, TRACECONTEXT_TRACEPARENT_MAX + 1), ret);
        if (r < 0)
                return r;

        if (ret_tracestate) {
                tracestate = find(envp, TRACESTATE);
                *ret_tracestate = tracestate && tracestate_valid(tracestate) ? tracestate : NULL;
        }
        return 0;
}

int envcarrier_child(char *const *envp, const TraceContext *context, const char *tracestate, char ***ret) {
        size_t n = 0, state_len = 0, i = 0;
        bool baggage = false;
        char **child, *text;

        assert(ret);

        for (char *const *e = envp; e && *e; e++)
                n++;

        if (context && tracestate && tracestate_valid(tracestate))
                state_len = strlen(tracestate);

        /* The vector, two more and the NULL, then the text of those two. */
        child = malloc((n + 3) * sizeof(*child) + sizeof(TRACEPARENT) + TRACECONTEXT_TRACEPARENT_LEN +
                       sizeof(TRACESTATE) + state_len);
        if (!child)
                return -ENOMEM;

        for (char *const *e = envp; e && *e; e++) {
                const char *value;

                if (value_of(*e, TRACEPARENT) || value_of(*e, TRACESTATE))
                        continue;

                value = value_of(*e, BAGGAGE);
                if (value) {
                        if (baggage || strnlen(value, ENVCARRIER_BAGGAGE_MAX + 1) > ENVCARRIER_BAGGAGE_MAX)
                                continue;
                        baggage = true;
                }
                child[i++] = *e;
        }

        text = (char *) (child + n + 3);
        if (context) {
                child[i++] = text;
                memcpy(text, TRACEPARENT, sizeof(TRACEPARENT) - 1);
                text += sizeof(TRACEPARENT) - 1;
                tracecontext_format(context, text);
                text += TRACECONTEXT_TRACEPARENT_LEN + 1;
        }
        if (state_len > 0) {
                child[i++] = text;
                memcpy(text, TRACESTATE, sizeof(TRACESTATE) - 1);
                memcpy(text + sizeof(TRACESTATE) - 1, tracestate, state_len + 1);
        }
        child[i] = NULL;

        *ret = child;
        return 0;
}
