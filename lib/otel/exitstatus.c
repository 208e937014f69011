#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "exitstatus.h"

const char *exitstatus_signal(int signal, char ret[static EXITSTATUS_SIGNAL_MAX]) {
        const char *name = sigabbrev_np(signal);

        if (name)
                (void) snprintf(ret, EXITSTATUS_SIGNAL_MAX, "SIG%s", name);
        else if (signal >= SIGRTMIN && signal <= SIGRTMAX)
                (void) snprintf(ret, EXITSTATUS_SIGNAL_MAX, "SIGRTMIN+%d", signal - SIGRTMIN);
        else
                (void) snprintf(ret, EXITSTATUS_SIGNAL_MAX, "SIGUNKNOWN");
        return ret;
}

int exitstatus_code(int status) {
        if (WIFEXITED(status))
                return WEXITSTATUS(status);
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : -1;
}

void exitstatus_set(Span *span, int code, int signal, const char *text) {
        char type[EXITSTATUS_SIGNAL_MAX];

        if (code < 0)
                return;
        span_attr_int(span, "process.exit.code", code);
        if (signal != 0)
                span_attr_str(span, "podspan.process.signal", exitstatus_signal(signal, type));
        else
                (void) snprintf(type, sizeof(type), "%d", code);
        if (code != 0) {
                span_attr_str(span, "error.type", type);
                span_set_status(span, SPAN_STATUS_ERROR, text);
        }
}

void exitstatus_set_wait(Span *span, int status, const char *text) {
        if (status >= 0)
                exitstatus_set(span, exitstatus_code(status), WIFSIGNALED(status) ? WTERMSIG(status) : 0, text);
}
