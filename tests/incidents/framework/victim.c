/*
 * What a staged container, hook or plugin runs: one static program with one way to end or to wait.
 *
 *     victim MODE [ARGUMENT]
 *
 * With VICTIM_GO=PATH in its environment it waits until PATH exists before it acts. It is copied under other names, so
 * that an answer has a program's name to repeat.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int die(const char *what) {
        perror(what);
        return 111;
}

static void wait_for_go(void) {
        const char *path = getenv("VICTIM_GO");

        while (path && access(path, F_OK) != 0)
                nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
}

/* Takes memory until it is killed, or up to a number of MiB. */
static int eat(const char *argument) {
        long limit = argument ? atol(argument) : 0;

        for (long i = 0; limit == 0 || i < limit; i++) {
                char *piece = malloc(1 << 20);

                if (!piece)
                        return die("malloc");
                memset(piece, 0x5a, 1 << 20);
        }
        for (;;)
                pause();
}

static int talk_unix(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char byte;

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || write(fd, "?", 1) != 1)
                return die(path);
        return read(fd, &byte, 1) < 0 ? die(path) : 0;
}

/* ADDRESS:PORT */
static int talk_tcp(const char *where) {
        struct sockaddr_in address = { .sin_family = AF_INET };
        char host[64];
        int port;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char byte;

        if (sscanf(where, "%63[0-9.]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
                return 2;
        address.sin_port = htons((uint16_t) port);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return die(where);
        return read(fd, &byte, 1) < 0 ? die(where) : 0;
}

/* A listener that accepts and never answers. */
static int serve_unix(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, 8) < 0)
                return die(path);
        for (;;)
                if (accept(fd, NULL, NULL) < 0)
                        return die("accept");
}

static int act(const char *mode, const char *argument) {
        volatile int *volatile nowhere = NULL;
        volatile int zero = 0;

        if (strcmp(mode, "segv") == 0)
                *nowhere = 1;
        else if (strcmp(mode, "abrt") == 0)
                abort();
        else if (strcmp(mode, "ill") == 0)
                __builtin_trap();
        else if (strcmp(mode, "fpe") == 0)
                return 700 / zero;
        else if (strcmp(mode, "exit") == 0)
                return argument ? atoi(argument) : 0;
        else if (strcmp(mode, "raise") == 0)
                kill(getpid(), argument ? atoi(argument) : SIGTERM);
        else if (strcmp(mode, "eat") == 0)
                return eat(argument);
        else if (strcmp(mode, "spin") == 0)
                for (;;)
                        zero = zero + 1;
        else if (strcmp(mode, "flock") == 0) {
                int fd = open(argument, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

                if (fd < 0 || flock(fd, LOCK_EX) < 0)
                        return die(argument);
        } else if (strcmp(mode, "fcntl") == 0) {
                int fd = open(argument, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

                if (fd < 0 || fcntl(fd, F_SETLKW, &lock) < 0)
                        return die(argument);
        } else if (strcmp(mode, "open") == 0) {
                if (open(argument, O_RDONLY | O_CLOEXEC) < 0)
                        return die(argument);
        } else if (strcmp(mode, "write") == 0) {
                if (open(argument, O_WRONLY | O_CLOEXEC) < 0)
                        return die(argument);
        } else if (strcmp(mode, "fill") == 0) {
                static const char block[65536];
                int fd = open(argument, O_WRONLY | O_CLOEXEC);

                while (fd >= 0 && write(fd, block, sizeof(block)) > 0)
                        ;
                return die(argument);
        } else if (strcmp(mode, "stat") == 0) {
                struct stat st;

                return stat(argument, &st) < 0 ? die(argument) : 0;
        } else if (strcmp(mode, "unix") == 0)
                return talk_unix(argument);
        else if (strcmp(mode, "serve") == 0)
                return serve_unix(argument);
        else if (strcmp(mode, "tcp") == 0)
                return talk_tcp(argument);
        /* "hold", and what a mode above holds on to. */
        for (;;)
                pause();
}

int main(int argc, char *argv[]) {
        if (argc < 2)
                return 2;
        /* The signal of its parent's death has to be asked for while the parent lives. */
        if (strcmp(argv[1], "orphan") == 0 && prctl(PR_SET_PDEATHSIG, argc > 2 ? atoi(argv[2]) : SIGKILL) < 0)
                return die("prctl");
        if (strcmp(argv[1], "deaf") == 0)
                signal(SIGTERM, SIG_IGN);
        wait_for_go();
        return act(argv[1], argc > 2 ? argv[2] : NULL);
}
