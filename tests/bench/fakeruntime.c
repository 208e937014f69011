/*
 * fakeruntime: an OCI runtime without containers, for what drives monitors
 *
 *   fakeruntime [GLOBAL…] create|restore --bundle B --pid-file P [--console-socket S] … ID
 *   fakeruntime [GLOBAL…] exec --pid-file P --process FILE [--console-socket S] … ID
 *   fakeruntime write FILE SIZE          writes FILE to standard output, SIZE bytes at a time
 *   fakeruntime content LOG…             writes what the container wrote, as LOG in the CRI's format has it, to
 * standard output, and of each partial record its size and the microseconds since the record before to standard error
 *
 * What is to happen stands in BUNDLE/process, for exec in FILE, one word and its value a line:
 *
 *   arg TEXT      the container's command line, one argument each, run in a session of its own
 *   record FILE   the runtime's own arguments and environment, each ended by NUL, are written to FILE
 *   fds FILE      the runtime's open descriptors, one a line
 *   stderr TEXT   written to standard error, with \n for a newline and \xNN for a byte
 *   flood BYTES   so many bytes to standard error
 *   wait FIFO     reads FIFO to its end
 *   kill N        the runtime ends by signal N
 *   exit N        the runtime ends with N, without a container
 *   no-pidfile    no pid file is written
 *   no-console    the console socket is ignored
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

enum { ARGS_MAX = 32, FILE_MAX = 65536, LOG_HEADER = 45 };

#define DAY_US (24 * 3600 * 1000000L)

typedef struct Request {
        const char *bundle, *pid_file, *process, *console;
        char *args[ARGS_MAX + 1];
        size_t n_args;
        bool no_pidfile, no_console;
} Request;

static void die(const char *what) {
        (void) fprintf(stderr, "fakeruntime: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        die("write");
                data += n;
                size -= (size_t) n;
        }
}

/* fakeruntime write FILE SIZE */
static int write_file(const char *path, size_t size) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *buffer = malloc(size);
        ssize_t n;

        if (fd < 0 || !buffer)
                die(path);
        if (size == 1) {
                /* The reading is not what is measured. */
                static char block[FILE_MAX];

                while ((n = read(fd, block, sizeof(block))) > 0)
                        for (ssize_t i = 0; i < n; i++)
                                write_all(STDOUT_FILENO, block + i, 1);
        } else
                while ((n = read(fd, buffer, size)) > 0)
                        write_all(STDOUT_FILENO, buffer, (size_t) n);
        free(buffer);
        return n < 0 ? 1 : 0;
}

/* The time of day in a record's header, in microseconds; every offset from UTC is the same in a log. */
static long time_of(const char *record) {
        int hour = 0, minute = 0, second = 0, us = 0;

        if (sscanf(record + 11, "%2d:%2d:%2d.%6d", &hour, &minute, &second, &us) != 4)
                return 0;
        return ((hour * 60L + minute) * 60 + second) * 1000000 + us;
}

static int write_content(const char *path, long *before) {
        FILE *log = fopen(path, "re");
        char *line = NULL;
        size_t size = 0;
        ssize_t n;

        if (!log)
                die(path);
        while ((n = getline(&line, &size, log)) > 0) {
                long now;

                /* Time with its offset, "stdout" or "stderr", "F" or "P". */
                if (n < LOG_HEADER + 1 || line[n - 1] != '\n' || line[35] != ' ' || strncmp(line + 36, "std", 3) != 0 ||
                    line[LOG_HEADER - 3] != ' ' || line[LOG_HEADER - 1] != ' ') {
                        (void) fprintf(stderr, "fakeruntime: no record: %.100s\n", line);
                        return 1;
                }
                now = time_of(line);
                if (line[LOG_HEADER - 2] == 'P')
                        (void) fprintf(stderr, "%zd %ld\n", --n - LOG_HEADER, (now - *before + DAY_US) % DAY_US);
                *before = now;
                if (fwrite(line + LOG_HEADER, 1, (size_t) (n - LOG_HEADER), stdout) != (size_t) (n - LOG_HEADER))
                        die("write");
        }
        free(line);
        (void) fclose(log);
        return 0;
}

/* fakeruntime content LOG… */
static int write_contents(char **paths) {
        long before = 0;

        for (; *paths; paths++)
                if (write_content(*paths, &before) != 0)
                        return 1;
        return fflush(stdout) == EOF ? 1 : 0;
}

static int create_file(const char *path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0)
                die(path);
        return fd;
}

static void record(const char *path, char **argv) {
        char temporary[4096];
        int fd;

        (void) snprintf(temporary, sizeof(temporary), "%s.new", path);
        fd = create_file(temporary);
        for (; *argv; argv++)
                write_all(fd, *argv, strlen(*argv) + 1);
        write_all(fd, "", 1);
        for (char **e = environ; *e; e++)
                write_all(fd, *e, strlen(*e) + 1);
        (void) close(fd);
        if (rename(temporary, path) < 0)
                die(path);
}

static void record_fds(const char *path) {
        DIR *dir = opendir("/proc/self/fd");
        struct dirent *entry;
        FILE *out;

        if (!dir)
                die("/proc/self/fd");
        out = fdopen(create_file(path), "w");
        if (!out)
                die(path);
        while ((entry = readdir(dir)) != NULL) {
                int fd = (int) strtol(entry->d_name, NULL, 10);

                if (entry->d_name[0] != '.' && fd != dirfd(dir) && fd != fileno(out))
                        (void) fprintf(out, "%d\n", fd);
        }
        (void) fclose(out);
        (void) closedir(dir);
}

/* In place: \n, \\ and \xNN. */
static size_t unescape(char *text) {
        char *to = text;

        for (const char *from = text; *from; from++) {
                if (from[0] == '\\' && from[1] == 'n') {
                        *to++ = '\n';
                        from++;
                } else if (from[0] == '\\' && from[1] == 'x' && from[2] && from[3]) {
                        const char hex[3] = { from[2], from[3], 0 };

                        *to++ = (char) strtol(hex, NULL, 16);
                        from += 3;
                } else if (from[0] == '\\' && from[1] == '\\') {
                        *to++ = '\\';
                        from++;
                } else
                        *to++ = *from;
        }
        return (size_t) (to - text);
}

static void drain(const char *fifo) {
        char buffer[256];
        int fd = open(fifo, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                die(fifo);
        while (read(fd, buffer, sizeof(buffer)) > 0)
                ;
        (void) close(fd);
}

static void obey(Request *r, char *word, char *value, char **argv) {
        if (strcmp(word, "arg") == 0 && r->n_args < ARGS_MAX)
                r->args[r->n_args++] = value;
        else if (strcmp(word, "record") == 0)
                record(value, argv);
        else if (strcmp(word, "fds") == 0)
                record_fds(value);
        else if (strcmp(word, "stderr") == 0)
                write_all(STDERR_FILENO, value, unescape(value));
        else if (strcmp(word, "flood") == 0)
                for (long n = strtol(value, NULL, 10); n > 0; n--)
                        write_all(STDERR_FILENO, "x", 1);
        else if (strcmp(word, "wait") == 0)
                drain(value);
        else if (strcmp(word, "kill") == 0)
                (void) raise((int) strtol(value, NULL, 10));
        else if (strcmp(word, "exit") == 0)
                exit((int) strtol(value, NULL, 10));
        else if (strcmp(word, "no-pidfile") == 0)
                r->no_pidfile = true;
        else if (strcmp(word, "no-console") == 0)
                r->no_console = true;
        else {
                (void) fprintf(stderr, "fakeruntime: unknown word: %s\n", word);
                exit(1);
        }
}

static void read_process(Request *r, char **argv) {
        static char text[FILE_MAX];
        char path[4096], *next = text;
        ssize_t n;
        int fd;

        (void) snprintf(path, sizeof(path), "%s%s", r->process ?: r->bundle, r->process ? "" : "/process");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                die(path);
        n = read(fd, text, sizeof(text) - 1);
        (void) close(fd);
        if (n < 0)
                die(path);
        for (char *line; (line = strsep(&next, "\n")) != NULL;) {
                char *value = strchr(line, ' ');

                if (!*line)
                        continue;
                if (value)
                        *value++ = 0;
                obey(r, line, value ?: line + strlen(line), argv);
        }
}

/* Sends the terminal's master; the name goes with it, as runc has it. */
static void send_console(const char *path, int master) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char name[] = "/dev/ptmx";
        struct iovec iov = { .iov_base = name, .iov_len = sizeof(name) };
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
                die("console socket");
        (void) strcpy(address.sun_path, path);
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                die(path);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        (void) memcpy(CMSG_DATA(header), &master, sizeof(int));
        if (sendmsg(fd, &message, 0) < 0)
                die("sendmsg");
        (void) close(fd);
}

static void write_pid(const char *path, pid_t pid) {
        char text[16];
        int fd = create_file(path);

        (void) snprintf(text, sizeof(text), "%d", (int) pid);
        write_all(fd, text, strlen(text));
        (void) close(fd);
}

static int start(Request *r) {
        int master = -1, slave = -1, go[2];
        char byte;
        pid_t pid;

        if (pipe2(go, O_CLOEXEC) < 0)
                die("pipe");
        if (r->console && !r->no_console) {
                if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
                        die("openpty");
                send_console(r->console, master);
                (void) close(master);
        }
        pid = fork();
        if (pid < 0)
                die("fork");
        if (pid == 0) {
                (void) close(go[1]);
                (void) setsid();
                if (slave >= 0) {
                        (void) ioctl(slave, TIOCSCTTY, 0);
                        for (int fd = 0; fd < 3; fd++)
                                (void) dup2(slave, fd);
                        if (slave > 2)
                                (void) close(slave);
                }
                /* As behind runc: nothing of it runs before its pid is known. */
                (void) !read(go[0], &byte, 1);
                (void) execvp(r->args[0], r->args);
                die(r->args[0]);
        }
        if (!r->no_pidfile && r->pid_file)
                write_pid(r->pid_file, pid);
        return 0;
}

int main(int argc, char **argv) {
        Request request = { 0 };
        const char *command = NULL;

        if (argc == 4 && strcmp(argv[1], "write") == 0)
                return write_file(argv[2], (size_t) strtol(argv[3], NULL, 10));
        if (argc >= 3 && strcmp(argv[1], "content") == 0)
                return write_contents(argv + 2);
        for (int i = 1; i < argc; i++) {
                const char **to = strcmp(argv[i], "--bundle") == 0           ? &request.bundle
                                  : strcmp(argv[i], "--pid-file") == 0       ? &request.pid_file
                                  : strcmp(argv[i], "--process") == 0        ? &request.process
                                  : strcmp(argv[i], "--console-socket") == 0 ? &request.console
                                                                             : NULL;

                if (to && i + 1 < argc)
                        *to = argv[++i];
                else if (!command && (strcmp(argv[i], "create") == 0 || strcmp(argv[i], "exec") == 0 ||
                                      strcmp(argv[i], "restore") == 0))
                        command = argv[i];
        }
        if (!command || !(request.bundle || request.process)) {
                (void) fprintf(stderr, "fakeruntime: create, restore and exec only\n");
                return 1;
        }
        read_process(&request, argv);
        if (request.n_args == 0)
                return 0;
        return start(&request);
}
