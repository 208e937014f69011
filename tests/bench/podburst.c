/*
 * podburst: the processes of many pods at once, without the work
 *
 *     podburst FOLDER PODS
 *
 * Plays an engine that starts PODS pods at the same moment: for each the network plugins, the shim, `runc create` with
 * its stages and a hook, `runc start`, the container's command and its end, `runc delete`: 9 programs and 11
 * processes, which do nothing but start each other. FOLDER gets copies of this program under the names that all these
 * have, and must hold the bundles, io.containerd.runtime.v2.task/k8s.io/burst-N. Ends when the last process has.
 *
 * Each program writes down who it is while it runs, a line of FOLDER/truth: its pid, the pid of the program that
 * started it, the wall clock in nanoseconds, its name and its pod. What a tracer says of it can be compared with that.
 */

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "clk.h"
#include "util.h"

#define PODS_MAX 10000
#define ENV_MAX  12

static const char *folder; /* of all the copies */
static const char *pod;    /* whose program this is; NULL: nobody's */

static char *path_of(const char *below, const char *name, const char *suffix) {
        char *path;

        if (asprintf(&path, "%s/%s%s%s", folder, below, name, suffix) < 0)
                abort();
        return path;
}

/* One line; at the end of the file whoever else writes. */
static void write_truth(const char *name) {
        _cleanup_free_ char *path = path_of("", "truth", "");
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        const char *above = getenv("BURST_ABOVE");

        if (fd < 0 || dprintf(fd, "%d %s %llu %s %s\n", getpid(), above ? above : "0",
                              (unsigned long long) clk_now().realtime_ns, name, pod) < 0)
                abort();
}

/* Starts the copy called @name with @args (NULL-terminated, without the first) and waits for it. */
static void run(const char *name, const char *const *args, const char *const *env, bool wait_for_it) {
        const char *argv[12] = { name }, *all[ENV_MAX];
        _cleanup_free_ char *path = path_of("", name, "");
        char above[32], whose[64];
        size_t n = 0;
        pid_t pid;

        for (size_t i = 0; args[i]; i++)
                argv[i + 1] = args[i];
        for (; env && *env && n < ENV_MAX - 3; env++)
                if (strncmp(*env, "BURST_", 6) != 0)
                        all[n++] = *env;
        (void) snprintf(above, sizeof(above), "BURST_ABOVE=%d", getpid());
        (void) snprintf(whose, sizeof(whose), "BURST_POD=%s", pod);
        all[n++] = above;
        all[n++] = whose;
        all[n] = NULL;
        if (posix_spawn(&pid, path, NULL, NULL, (char *const *) argv, (char *const *) all) != 0)
                abort();
        if (wait_for_it)
                (void) waitpid(pid, NULL, 0);
}

#define RUN(name, ...) run(name, (const char *const[]){ __VA_ARGS__, NULL }, NULL, true)

static void run_pod(const char *id) {
        char container[64], args[160];
        const char *const env[] = { "CNI_COMMAND=ADD", container, "CNI_IFNAME=eth0", args, NULL };
        const char *const no_args[] = { NULL };

        (void) snprintf(container, sizeof(container), "CNI_CONTAINERID=%s", id);
        (void) snprintf(args, sizeof(args), "CNI_ARGS=K8S_POD_UID=uid-%s;K8S_POD_NAME=%s;K8S_POD_NAMESPACE=burst", id,
                        id);
        run("bridge", no_args, env, true);
        RUN("containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", id, "-address", "/none", "start");
}

static int be_engine(unsigned n) {
        int status, code = 0;

        (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
        for (unsigned i = 0; i < n; i++) {
                char id[32];
                pid_t pid;

                (void) snprintf(id, sizeof(id), "burst-%u", i);
                pid = fork();
                if (pid < 0)
                        return 1;
                if (pid == 0) {
                        pod = id;
                        run_pod(id);
                        _exit(0);
                }
        }
        while (wait(&status) > 0 || errno == EINTR)
                code |= status != 0;
        return code;
}

static int be_shim(const char *id, bool start) {
        _cleanup_free_ char *bundle = path_of("io.containerd.runtime.v2.task/k8s.io/", id, "");
        const char *const serve[] = { "-namespace", "k8s.io", "-id", id, NULL };

        if (start) {
                run("containerd-shim-runc-v2", serve, NULL, false);
                return 0;
        }
        RUN("runc", "--root", "/none", "create", "--bundle", bundle, id);
        RUN("runc", "--root", "/none", "start", id);
        RUN("runc", "--root", "/none", "delete", id);
        return 0;
}

/* The container's first process waits at a pipe for the start, as runc's does. */
static void be_init(const char *id) {
        _cleanup_free_ char *fifo = path_of("", id, ".fifo"), *command = path_of("", "command", "");
        _cleanup_close_ int fd = -EBADF;

        (void) prctl(PR_SET_NAME, "runc:[2:INIT]");
        fd = open(fifo, O_WRONLY | O_CLOEXEC);
        (void) execl(command, "command", NULL);
        _exit(1);
}

static int be_runc(const char *verb, const char *id) {
        _cleanup_free_ char *fifo = path_of("", id, ".fifo");

        if (strcmp(verb, "create") == 0) {
                pid_t pid;

                if (mkfifo(fifo, 0600) < 0)
                        return 1;
                pid = fork();
                if (pid == 0) {
                        (void) prctl(PR_SET_NAME, "runc:[0:PARENT]");
                        if (fork() == 0)
                                be_init(id);
                        _exit(0);
                }
                (void) waitpid(pid, NULL, 0);
                RUN("hook", "createRuntime");
        } else if (strcmp(verb, "start") == 0) {
                _cleanup_close_ int fd = open(fifo, O_RDONLY | O_CLOEXEC);
                char byte;

                /* Its end is there when the command has been executed. */
                (void) !read(fd, &byte, 1);
        } else {
                (void) unlink(fifo);
        }
        return 0;
}

static int copy(const char *name) {
        _cleanup_free_ char *path = path_of("", name, "");
        _cleanup_close_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = -EBADF;
        struct stat st;

        to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
        if (from < 0 || to < 0 || fstat(from, &st) < 0 || sendfile(to, from, NULL, (size_t) st.st_size) != st.st_size)
                return -errno;
        return 0;
}

static int prepare(unsigned n) {
        static const char *const names[] = {
                "containerd", "containerd-shim-runc-v2", "runc", "bridge", "host-local", "hook", "command"
        };
        _cleanup_free_ char *engine = path_of("", "containerd", "");
        char count[16];

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (copy(names[i]) < 0)
                        return 1;
        (void) snprintf(count, sizeof(count), "%u", n);
        (void) execl(engine, engine, count, NULL);
        return 1;
}

int main(int argc, char **argv) {
        static char self[4096];
        const char *name;
        ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (len <= 0)
                return 1;
        name = strrchr(self, '/') + 1;
        self[name - self - 1] = '\0';
        folder = self;

        pod = getenv("BURST_POD");
        if (pod)
                write_truth(name);
        if (strcmp(name, "containerd") == 0)
                return be_engine((unsigned) atoi(argv[1]));
        if (strcmp(name, "containerd-shim-runc-v2") == 0)
                return be_shim(argv[4], argc > 5);
        if (strcmp(name, "runc") == 0)
                return be_runc(argv[3], argv[argc - 1]);
        if (strcmp(name, "bridge") == 0) {
                static const char *const no_args[] = { NULL };

                run("host-local", no_args, (const char *const *) environ, true);
                return 0;
        }
        if (strcmp(name, "podburst") != 0)
                return 0;

        if (argc != 3 || atoi(argv[2]) <= 0 || atoi(argv[2]) > PODS_MAX) {
                (void) fprintf(stderr, "usage: podburst FOLDER PODS (at most %d)\n", PODS_MAX);
                return 2;
        }
        folder = argv[1];
        return prepare((unsigned) atoi(argv[2]));
}
