/* The only file of the from-scratch image: says that it runs, then waits for SIGTERM and exits with its argument. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
        static const char greeting[] = "running\n";
        sigset_t set;
        int signal_number;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        if (write(STDOUT_FILENO, greeting, sizeof(greeting) - 1) < 0)
                return 1;
        sigwait(&set, &signal_number);
        return argc > 1 ? atoi(argv[1]) : 0;
}
