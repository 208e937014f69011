/*
 * What a byte of container log costs a monitor
 *
 *     logbench [--monitor PATH] [--conmon PATH] [--dir DIR] [--mib N] [--runs N]
 *
 * For each workload a process writes N MiB into a pipe, and who reads it, podspan-conmon (else our log side alone
 * behind the plainest of pumps) and then conmon, writes a k8s-file in DIR. Prints megabytes of log input per second of
 * CPU time (user and system, of the reader only): median and spread of the runs, taken in turns, and the records that
 * are partial without need.
 */

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "logs.h"
#include "util.h"

#define PUMP_SIZE (64U * 1024)
#define RUNS_MAX  100

typedef struct Workload {
        const char *name;
        size_t line;     /* bytes, newline included */
        size_t write;    /* bytes of one write() */
        unsigned divide; /* of the amount, for what takes long */
} Workload;

static const Workload workloads[] = {
        { "100-byte lines, 64 KiB writes", 100, 65536, 1 },
        { "100-byte lines, a write each", 100, 100, 1 },
        { "1 MiB lines", 1 << 20, 65536, 1 },
        { "100-byte lines, 1-byte writes", 100, 1, 64 },
};

typedef struct Setup {
        const char *monitor;
        const char *conmon;
        const char *dir;
        const char *self;
        uint64_t mib;
        unsigned runs;
} Setup;

/* Writes @total bytes of lines to standard output. */
static int generate(size_t line, size_t write_size, uint64_t total) {
        const size_t size = (line > write_size ? line : write_size) * 2;
        _cleanup_free_ uint8_t *text = malloc(size);
        size_t at = 0;

        if (!text)
                return 1;
        for (size_t i = 0; i < size; i++)
                text[i] = i % line == line - 1 ? '\n' : (uint8_t) ('a' + i % 26);
        while (total > 0) {
                const size_t part = MIN(write_size, size - at), n = (size_t) MIN((uint64_t) part, total);

                if (util_write_all(STDOUT_FILENO, text + at, n) < 0)
                        return 1;
                total -= n;
                at = (at + n) % (size - size % line);
        }
        return 0;
}

/* Reads @fd to its end into a k8s-file at @path, as a monitor does. */
static int pump(int fd, const char *path) {
        static uint8_t buffer[PUMP_SIZE];
        const char *paths[] = { path };
        const LogsOptions options = { .paths = paths, .n_paths = 1, .no_sync = true };
        _cleanup_(logs_freep) Logs *logs = NULL;
        _cleanup_free_ char *message = NULL;
        Clk now;

        if (logs_new(&options, &message, &logs) < 0)
                return 1;
        for (;;) {
                const ssize_t n = read(fd, buffer, sizeof(buffer));

                now = clk_now();
                if (n <= 0)
                        break;
                logs_write(logs, LOGS_STDOUT, buffer, (size_t) n, &now);
        }
        logs_end(logs, &now);
        return 0;
}

/* CPU seconds of @pid once it has ended: its own, while wait4() would add those of the children it has reaped. */
static double cpu_of(pid_t pid) {
        siginfo_t info = { 0 };
        uint64_t ns = 0;
        char path[64];
        FILE *file;
        int status;

        (void) snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
        if (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT) < 0)
                return -1;
        file = fopen(path, "re");
        if (!file || fscanf(file, "%" SCNu64, &ns) != 1)
                ns = 0;
        if (file)
                (void) fclose(file);
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0 || ns == 0)
                return -1;
        return (double) ns / 1e9;
}

static double run_ours(const Workload *workload, uint64_t total, const char *path) {
        int fds[2];
        pid_t writer, reader;
        double cpu;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        writer = fork();
        if (writer == 0) {
                if (dup2(fds[1], STDOUT_FILENO) < 0)
                        _exit(1);
                _exit(generate(workload->line, workload->write, total));
        }
        (void) close(fds[1]);
        reader = fork();
        if (reader == 0)
                _exit(pump(fds[0], path));
        (void) close(fds[0]);
        cpu = cpu_of(reader);
        (void) cpu_of(writer);
        return cpu;
}

/* A conmon, with this program as its runtime. */
static double run_monitor(const Setup *setup, const char *monitor, const Workload *workload, uint64_t total,
                          const char *path) {
        char line[32], write_size[32], amount[32], log[600], pidfile[600];
        pid_t pid;

        (void) snprintf(line, sizeof(line), "%zu", workload->line);
        (void) snprintf(write_size, sizeof(write_size), "%zu", workload->write);
        (void) snprintf(amount, sizeof(amount), "%" PRIu64, total);
        (void) snprintf(log, sizeof(log), "k8s-file:%s", path);
        (void) snprintf(pidfile, sizeof(pidfile), "%s/pidfile", setup->dir);
        pid = fork();
        if (pid == 0) {
                (void) setenv("LOGBENCH_LINE", line, 1);
                (void) setenv("LOGBENCH_WRITE", write_size, 1);
                (void) setenv("LOGBENCH_TOTAL", amount, 1);
                execl(monitor, "conmon", "--sync", "--no-sync-log", "-c", "logbenchcontainer", "-u",
                      "logbenchcontainer", "-n", "logbench", "-r", setup->self, "-b", setup->dir, "-p", pidfile,
                      "--socket-dir-path", setup->dir, "-l", log, NULL);
                _exit(127);
        }
        return cpu_of(pid);
}

/* As `create`: a process that lives on writes, its pid goes to the pidfile. */
static int be_runtime(int argc, char *argv[]) {
        const char *pidfile = NULL;
        FILE *file;
        pid_t pid;

        for (int i = 1; i + 1 < argc; i++)
                if (strcmp(argv[i], "--pid-file") == 0)
                        pidfile = argv[i + 1];
        pid = fork();
        if (pid == 0)
                _exit(generate(strtoul(getenv("LOGBENCH_LINE"), NULL, 10), strtoul(getenv("LOGBENCH_WRITE"), NULL, 10),
                               strtoull(getenv("LOGBENCH_TOTAL"), NULL, 10)));
        file = pidfile ? fopen(pidfile, "we") : NULL;
        if (!file || fprintf(file, "%d", pid) < 0 || fclose(file) != 0)
                return 1;
        return 0;
}

static int compare(const void *a, const void *b) {
        const double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static void print_row(const char *who, double *rates, unsigned n, double partial_percent) {
        if (n == 0) {
                printf("  %-8s failed\n", who);
                return;
        }
        qsort(rates, n, sizeof(*rates), compare);
        printf("  %-8s %7.0f MB per CPU second (%.0f to %.0f, N=%u), %.2f %% partial records\n", who, rates[n / 2],
               rates[0], rates[n - 1], n, partial_percent);
}

/* The share of records tagged P, in percent. */
static double partials_of(const char *path) {
        FILE *file = fopen(path, "re");
        _cleanup_free_ char *line = NULL;
        uint64_t all = 0, partial = 0;
        size_t size = 0;

        if (!file)
                return -1;
        while (getline(&line, &size, file) > 44) {
                all++;
                partial += line[43] == 'P';
        }
        (void) fclose(file);
        return all ? 100.0 * (double) partial / (double) all : 0;
}

static void bench(const Setup *setup, const Workload *workload) {
        const uint64_t total = setup->mib * 1024 * 1024 / workload->divide;
        double ours[RUNS_MAX], theirs[RUNS_MAX], ours_partial = 0, theirs_partial = 0;
        unsigned n_ours = 0, n_theirs = 0;
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/log", setup->dir);
        for (unsigned i = 0; i < setup->runs; i++) {
                double cpu;

                cpu = setup->monitor ? run_monitor(setup, setup->monitor, workload, total, path)
                                     : run_ours(workload, total, path);
                if (cpu > 0)
                        ours[n_ours++] = (double) total / 1e6 / cpu;
                ours_partial = partials_of(path);
                (void) unlink(path);
                if (!setup->conmon)
                        continue;
                cpu = run_monitor(setup, setup->conmon, workload, total, path);
                if (cpu > 0)
                        theirs[n_theirs++] = (double) total / 1e6 / cpu;
                theirs_partial = partials_of(path);
                (void) unlink(path);
        }
        printf("%s, %" PRIu64 " MB:\n", workload->name, total / 1000000);
        print_row("podspan", ours, n_ours, ours_partial);
        if (!setup->conmon)
                return;
        print_row("conmon", theirs, n_theirs, theirs_partial);
        if (n_ours && n_theirs)
                printf("  ratio    %7.2f\n", ours[n_ours / 2] / theirs[n_theirs / 2]);
}

static int usage(const char *name) {
        fprintf(stderr, "usage: %s [--monitor PATH] [--conmon PATH] [--dir DIR] [--mib N] [--runs N]\n", name);
        return 2;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "monitor", required_argument, NULL, 'o' }, { "conmon", required_argument, NULL, 'c' },
                { "dir", required_argument, NULL, 'd' },     { "mib", required_argument, NULL, 'm' },
                { "runs", required_argument, NULL, 'r' },    { NULL, 0, NULL, 0 },
        };
        char dir[] = "/tmp/logbench-XXXXXX", self[512];
        Setup setup = { .mib = 256, .runs = 5 };
        ssize_t len;
        int c;

        if (getenv("LOGBENCH_TOTAL"))
                return be_runtime(argc, argv);
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 'o')
                        setup.monitor = optarg;
                else if (c == 'c')
                        setup.conmon = optarg;
                else if (c == 'd')
                        setup.dir = optarg;
                else if (c == 'm')
                        setup.mib = strtoull(optarg, NULL, 10);
                else if (c == 'r')
                        setup.runs = (unsigned) MIN(strtoul(optarg, NULL, 10), (unsigned long) RUNS_MAX);
                else
                        return usage(argv[0]);
        }
        len = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (optind < argc || setup.mib == 0 || setup.runs == 0 || len < 0)
                return usage(argv[0]);
        self[len] = '\0';
        setup.self = self;
        if (!setup.dir)
                setup.dir = mkdtemp(dir);
        if (!setup.dir)
                return 1;
        setvbuf(stdout, NULL, _IOLBF, 0);
        for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
                bench(&setup, &workloads[i]);
        return 0;
}
