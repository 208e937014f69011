#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include "clk.h"
#include "filelimit.h"
#include "hook.h"
#include "log.h"
#include "wrap.h"

#define EXIT_USAGE 2

/* The one signal handler, and all it does: no loop can interrupt a file system that hangs, and a hook killed by a
 * signal fails its container. */
static void on_alarm(_unused_ int sig) {
        _exit(EXIT_SUCCESS);
}

static void bound_time(void) {
        static const struct itimerval last_resort = { .it_value = { .tv_sec = 2 } };
        struct sigaction ignore = { .sa_handler = SIG_IGN }, alarm = { .sa_handler = on_alarm };
        sigset_t set;

        /* A reader that is gone is no reason to die either. */
        (void) sigaction(SIGPIPE, &ignore, NULL);

        (void) sigaction(SIGALRM, &alarm, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGALRM);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void) setitimer(ITIMER_REAL, &last_resort, NULL);
}

static int print(const char *text) {
        return fputs(text, stdout) == EOF || fflush(stdout) == EOF ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv, char **envp) {
        uint64_t now_ns = clk_realtime();
        const char *message, *word;
        Options options;
        int r;

        /* A file opened later would else be standard error. Closed on exec, so a wrapped hook starts without them too.
         */
        filelimit_ignore();
        util_fill_standard_fds();

        r = options_parse(argc, argv, &options, &message, &word);
        if (r < 0) {
                log_setup("podspan-hook", LOG_LEVEL_INFO);
                log_error("%s %s; try podspan-hook --help", message, word);
                /* A hook that fails would stop the container; a wrapper that skips its hook would start it without. */
                return options.command == OPTIONS_WRAP ? EXIT_USAGE : EXIT_SUCCESS;
        }

        switch (options.command) {
        case OPTIONS_HELP:
                return print(options_help);
        case OPTIONS_VERSION:
                return print("podspan-hook " PODSPAN_VERSION "\n");
        case OPTIONS_WRAP:
                return wrap_run(&options, envp, now_ns);
        case OPTIONS_HOOK:
                break;
        }

        bound_time();
        hook_run(&options, envp, now_ns);
        _exit(EXIT_SUCCESS);
}
