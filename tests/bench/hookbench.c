/*
 * The hook's row of the design: exec to exit of podspan-hook at createRuntime, with spool and context files on a tmpfs,
 * against an empty static C program and an empty Go program. All get the same state on a pipe and take turns in one
 * run, so that what else the machine does hits all alike. Every timed run of the hook must have put a span into the
 * spool.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "clk.h"
#include "context.h"
#include "spool.h"

#define ROUNDS_DEFAULT 2000
#define ROUNDS_MAX     1000000
#define WARM_UP        50
#define OTHER_CALLS    30 /* live context files of other pods: a node that starts many at once */
#define BUDGET_P50     1.5
#define BUDGET_P99     2.0

#define CONTAINER_ID "4ce2dac38220fd6a0f2c3b87195736f36d500908ba3005d788f8f3f92b7571c6"
#define SANDBOX_ID   "eada9831d136d687fb6ea6efd3788cd8cd2349777f9caa6423db8d71c67962e9"
#define POD_UID      "e1fa429a-df31-4510-93f7-77f65807d58d"

typedef struct Contender {
        const char *label;
        char path[4096];
        char *const *argv;
        uint64_t *times;
} Contender;

typedef struct Bench {
        char dir[64];
        char state_dir[128];
        int state_fd;
        int spool_fd;
        Context context;
        unsigned rounds;
        char *input;
        size_t input_len;
} Bench;

/* What containerd 2 hands to a hook, down to the annotations. */
static char *make_input(const char *dir) {
        char *s = NULL;

        if (asprintf(&s,
                     "{\"ociVersion\":\"1.2.0\",\"id\":\"" CONTAINER_ID "\",\"status\":\"creating\",\"pid\":%d,"
                     "\"bundle\":\"%s/io.containerd.runtime.v2.task/k8s.io/" CONTAINER_ID "\",\"annotations\":{"
                     "\"io.kubernetes.cri.container-name\":\"main\",\"io.kubernetes.cri.container-type\":\"container\","
                     "\"io.kubernetes.cri.image-name\":\"registry.example/team/app:1.2.3\","
                     "\"io.kubernetes.cri.sandbox-id\":\"" SANDBOX_ID "\","
                     "\"io.kubernetes.cri.sandbox-name\":\"app-7d9c5b6f4-x2x7k\","
                     "\"io.kubernetes.cri.sandbox-namespace\":\"production\","
                     "\"io.kubernetes.cri.sandbox-uid\":\"" POD_UID "\"}}",
                     (int) getpid(), dir) < 0)
                return NULL;
        return s;
}

static int publish(Bench *bench, const char *container_id, const char *uid) {
        ContextRecord record = { .operation = "StartContainer", .start_ns = clk_realtime() };
        ContextHandle handle;
        int r;

        r = tracecontext_new_root(&record.trace);
        if (r < 0)
                return r;

        util_copy_bounded(record.identity.container_id, sizeof(record.identity.container_id), container_id,
                          strlen(container_id));
        util_copy_bounded(record.identity.pod_uid, sizeof(record.identity.pod_uid), uid, strlen(uid));
        return context_publish(&bench->context, &record, &handle);
}

static int make_bundle(const Bench *bench) {
        static const char *const parts[] = { "/io.containerd.runtime.v2.task", "/k8s.io", ("/" CONTAINER_ID) };
        char path[512];
        int fd, n;

        n = snprintf(path, sizeof(path), "%s", bench->dir);
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                n += snprintf(path + n, sizeof(path) - (size_t) n, "%s", parts[i]);
                if (mkdir(path, 0755) < 0)
                        return -errno;
        }

        (void) snprintf(path + n, sizeof(path) - (size_t) n, "/config.json");
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        close_fd(fd);
        return 0;
}

static int setup(Bench *bench) {
        int r;

        (void) snprintf(bench->dir, sizeof(bench->dir), "/dev/shm/podspan-bench-XXXXXX");
        if (!mkdtemp(bench->dir))
                return -errno;
        (void) snprintf(bench->state_dir, sizeof(bench->state_dir), "%s/state", bench->dir);
        if (mkdir(bench->state_dir, 0755) < 0)
                return -errno;

        bench->state_fd = open(bench->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (bench->state_fd < 0)
                return -errno;
        r = spool_create(bench->state_fd);
        if (r < 0)
                return r;
        bench->spool_fd = openat(bench->state_fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (bench->spool_fd < 0)
                return -errno;

        r = context_init(&bench->context, bench->state_fd, /* create= */ true, COUNTERS_CRI, NULL);
        if (r < 0)
                return r;
        r = publish(bench, CONTAINER_ID, POD_UID);
        for (unsigned i = 0; i < OTHER_CALLS && r >= 0; i++) {
                char id[80];

                (void) snprintf(id, sizeof(id), "%064x", i + 1);
                r = publish(bench, id, id);
        }
        if (r < 0)
                return r;

        bench->input = make_input(bench->dir);
        if (!bench->input)
                return -ENOMEM;
        bench->input_len = strlen(bench->input);
        return make_bundle(bench);
}

/* Removes what the hook wrote; returns how many spool files there were. */
static int clear_spool(Bench *bench) {
        int n = 0, fd = openat(bench->spool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fdopendir(fd);
        struct dirent *entry;

        if (!dir)
                return -errno;
        while ((entry = readdir(dir)))
                if (spool_name_valid(entry->d_name) && unlinkat(bench->spool_fd, entry->d_name, 0) == 0)
                        n++;
        (void) closedir(dir);
        return n;
}

/* Starts the program with @stdin_fd. Apart, because what vfork(2) shares must not be the caller's variables. */
static __attribute__((noinline)) pid_t spawn(const Contender *contender, int stdin_fd) {
        static char *const env[] = { NULL };
        pid_t pid;

        pid = vfork();
        if (pid == 0) {
                (void) dup2(stdin_fd, STDIN_FILENO);
                (void) execve(contender->path, contender->argv, env);
                _exit(127);
        }
        return pid;
}

/* One exec to exit. Returns 0 or a negative errno. */
static int run_once(const Bench *bench, const Contender *contender, uint64_t *ret_ns) {
        _cleanup_close_ int read_fd = -EBADF, write_fd = -EBADF;
        siginfo_t info = {};
        uint64_t begin;
        int fds[2], r;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = fds[0];
        write_fd = fds[1];

        r = util_write_all(write_fd, bench->input, bench->input_len);
        if (r < 0)
                return r;
        write_fd = close_fd(write_fd);

        begin = clk_monotonic();
        pid = spawn(contender, read_fd);
        if (pid < 0 || waitid(P_PID, (id_t) pid, &info, WEXITED) < 0)
                return -errno;
        *ret_ns = clk_monotonic() - begin;

        return info.si_code == CLD_EXITED && info.si_status == 0 ? 0 : -ENOEXEC;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static double percentile(const Contender *contender, unsigned n, double p) {
        return (double) contender->times[(size_t) (p / 100 * (n - 1) + 0.5)] / 1e6;
}

static void print_row(const Contender *contender, const Contender *floor, unsigned n) {
        printf("%-24s N %u  p50 %.3f ms  p99 %.3f ms  p10…p90 %.3f…%.3f ms  ratio p50 %.2f p99 %.2f\n",
               contender->label, n, percentile(contender, n, 50), percentile(contender, n, 99),
               percentile(contender, n, 10), percentile(contender, n, 90),
               percentile(contender, n, 50) / percentile(floor, n, 50),
               percentile(contender, n, 99) / percentile(floor, n, 99));
}

static bool find_gofloor(char *ret, size_t size) {
        const char *cache = getenv("PODSPAN_PEER_CACHE");
        char pattern[4096];
        glob_t found;
        bool ok;

        (void) snprintf(pattern, sizeof(pattern), "%s/gofloor-*/gofloor", cache ? cache : "/var/cache/podspan/peers");
        ok = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
        if (ok)
                (void) snprintf(ret, size, "%s", found.gl_pathv[0]);
        globfree(&found);
        return ok;
}

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type, _unused_ struct FTW *ftw) {
        return remove(path);
}

static int run(Bench *bench, Contender *contenders, size_t n_contenders, const Contender *hook) {
        for (size_t i = 0; i < n_contenders; i++) {
                contenders[i].times = calloc(bench->rounds, sizeof(uint64_t));
                if (!contenders[i].times)
                        return -ENOMEM;
        }

        for (unsigned round = 0; round < bench->rounds + WARM_UP; round++)
                for (size_t k = 0; k < n_contenders; k++) {
                        /* Whoever follows whom changes from round to round. */
                        Contender *contender = &contenders[(k + round) % n_contenders];
                        uint64_t ns = 0;
                        int r;

                        r = run_once(bench, contender, &ns);
                        if (r < 0)
                                return r;
                        if (contender == hook) {
                                if (clear_spool(bench) != 1)
                                        return -ENODATA;
                                /* Each round is another container's first stage. */
                                r = context_remove(&bench->context, CONTEXT_HOOK, CONTAINER_ID);
                                if (r < 0)
                                        return r;
                        }
                        if (round >= WARM_UP)
                                contender->times[round - WARM_UP] = ns;
                }

        for (size_t i = 0; i < n_contenders; i++)
                qsort(contenders[i].times, bench->rounds, sizeof(uint64_t), compare);
        return 0;
}

static const char help[] = "hookbench [N] [PODSPAN-HOOK] [FLOOR]\n"
                           "Prints how long podspan-hook takes from exec to exit, against the floors, and whether the\n"
                           "budget is met. The programs default to those of the build directory this one is in.\n"
                           "Exit codes: 0 met, 1 not met or failed, 2 usage.\n";

int main(int argc, char **argv) {
        Bench bench = { .context = CONTEXT_NULL, .rounds = ROUNDS_DEFAULT };
        Contender contenders[3] = { { .label = "podspan-hook" },
                                    { .label = "static C floor" },
                                    { .label = "Go floor" } };
        char *hook_argv[8], *floor_argv[] = { (char *) "floor", NULL };
        size_t n_contenders = 2, dir_len;
        uint64_t n;
        bool met_p50, met_p99;
        int r;

        if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0))
                return fputs(argv[1][2] == 'h' ? help : "hookbench " PODSPAN_VERSION "\n", stdout) < 0;
        if (argc > 1 && (util_parse_u64(argv[1], strlen(argv[1]), &n) < 0 || n < 100 || n > ROUNDS_MAX)) {
                fputs(help, stderr);
                return 2;
        }
        if (argc > 1)
                bench.rounds = (unsigned) n;

        dir_len = strrchr(argv[0], '/') ? (size_t) (strrchr(argv[0], '/') - argv[0]) : 0;
        (void) snprintf(contenders[0].path, sizeof(contenders[0].path), "%.*s/../../oci-hooks/podspan-hook",
                        (int) dir_len, argv[0]);
        (void) snprintf(contenders[1].path, sizeof(contenders[1].path), "%.*s/floor", (int) dir_len, argv[0]);
        for (int i = 2; i < argc && i < 4; i++)
                (void) snprintf(contenders[i - 2].path, sizeof(contenders[0].path), "%s", argv[i]);
        if (find_gofloor(contenders[2].path, sizeof(contenders[2].path)))
                n_contenders++;

        r = setup(&bench);
        hook_argv[0] = (char *) "podspan-hook";
        hook_argv[1] = (char *) "--stage";
        hook_argv[2] = (char *) "createRuntime";
        hook_argv[3] = (char *) "--state-dir";
        hook_argv[4] = bench.state_dir;
        hook_argv[5] = NULL;
        contenders[0].argv = hook_argv;
        contenders[1].argv = contenders[2].argv = floor_argv;

        if (r == 0)
                r = run(&bench, contenders, n_contenders, &contenders[0]);
        if (nftw(bench.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
                fprintf(stderr, "hookbench: cannot remove %s\n", bench.dir);
        if (r < 0) {
                fprintf(stderr, "hookbench: %s\n", strerror(-r));
                return 1;
        }

        for (size_t i = 0; i < n_contenders; i++)
                print_row(&contenders[i], &contenders[1], bench.rounds);
        if (n_contenders < 3)
                puts("Go floor: not in the peer cache (gofloor), not measured");

        met_p50 = percentile(&contenders[0], bench.rounds, 50) <=
                  BUDGET_P50 * percentile(&contenders[1], bench.rounds, 50);
        met_p99 = percentile(&contenders[0], bench.rounds, 99) <=
                  BUDGET_P99 * percentile(&contenders[1], bench.rounds, 99);
        printf("budget: p50 ≤ %.1f × the static C floor: %s; p99 ≤ %.0f ×: %s\n", BUDGET_P50,
               met_p50 ? "met" : "not met", BUDGET_P99, met_p99 ? "met" : "not met");
        return met_p50 && met_p99 ? 0 : 1;
}
