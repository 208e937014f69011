/* The pod's first process: holds the namespaces, reaps whatever is re-parented to it, ends on SIGTERM or SIGINT. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void) {
        sigset_t set;
        int signal_number;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        for (;;) {
                if (sigwait(&set, &signal_number) != 0)
                        return 1;
                if (signal_number != SIGCHLD)
                        return 0;
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
        }
}
