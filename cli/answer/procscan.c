#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "clk.h"
#include "procscan.h"

#define CMDLINES_NS (1000 * NSEC_PER_MSEC) /* for all command lines together */
#define ENVIRON_MAX (256U * 1024)          /* bytes of an environment that are looked at */

static int read_at(int dir_fd, const char *name, char *ret, size_t size) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        size_t n = 0;

        if (fd < 0)
                return -errno;
        while (n < size - 1) {
                ssize_t k = read(fd, ret + n, size - 1 - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        ret[n] = '\0';
        return (int) n;
}

static int open_pid(pid_t pid) {
        char path[32];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

ssize_t procscan_read(pid_t pid, const char *name, char *ret, size_t size) {
        char path[96];

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        return read_at(AT_FDCWD, path, ret, size);
}

int procscan_read_all(pid_t pid, const char *name, size_t max, char **ret, size_t *ret_n) {
        char path[96];
        _cleanup_close_ int fd = -EBADF;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : util_read_fd(fd, max, ret, ret_n);
}

static void read_exe(int dir_fd, char ret[static PROCSCAN_EXE_MAX + 1]) {
        char target[4096];
        ssize_t n = readlinkat(dir_fd, "exe", target, sizeof(target));

        *ret = '\0';
        if (n <= 0)
                return;
        /* The end of a long path has the name. */
        if (n > PROCSCAN_EXE_MAX)
                memcpy(ret, target + (size_t) n - PROCSCAN_EXE_MAX, PROCSCAN_EXE_MAX);
        else
                memcpy(ret, target, (size_t) n);
        ret[MIN((size_t) n, (size_t) PROCSCAN_EXE_MAX)] = '\0';
}

static int add(Procs *procs, const Proc *proc) {
        if (procs->n == procs->n_allocated) {
                size_t n = procs->n_allocated == 0 ? 512 : 2 * procs->n_allocated;
                Proc *more = reallocarray(procs->procs, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                procs->procs = more;
                procs->n_allocated = n;
        }
        procs->procs[procs->n++] = *proc;
        return 0;
}

/* Everything of one process that is read below one descriptor, so that it is never another's. */
static int look_at(Procs *procs, pid_t pid) {
        _cleanup_close_ int dir_fd = open_pid(pid);
        char text[PROCFILE_SMALL_MAX];
        Proc proc = { .parent = -1 };
        ProcfileStatus status;
        int n;

        if (dir_fd < 0)
                return 0;
        n = read_at(dir_fd, "stat", text, sizeof(text));
        if (n < 0 || procfile_stat(text, (size_t) n, &proc.stat) < 0)
                return 0;
        if (!(proc.stat.flags & PROCFILE_KTHREAD)) {
                n = read_at(dir_fd, "status", text, sizeof(text));
                if (n >= 0 && procfile_status(text, (size_t) n, &status) == 0) {
                        proc.known = true;
                        proc.host_pid = status.n_pid_namespaces == 1;
                        for (size_t i = 0; i < ARRAY_SIZE(status.uids); i++)
                                if (status.uids[i] != 0)
                                        proc.uid = status.uids[i];
                }
                n = read_at(dir_fd, "cgroup", text, sizeof(text));
                if (n >= 0)
                        procfile_cgroup(text, (size_t) n, procs->base, procs->base_n, &proc.cgroup);
                else
                        proc.known = false;
                read_exe(dir_fd, proc.exe);
        }
        return add(procs, &proc);
}

static int by_pid(const void *a, const void *b) {
        pid_t x = ((const Proc *) a)->stat.pid, y = ((const Proc *) b)->stat.pid;

        return x < y ? -1 : x > y;
}

static Proc *find(const Procs *procs, pid_t pid) {
        Proc key = { .stat.pid = pid };

        return procs->n == 0 ? NULL : bsearch(&key, procs->procs, procs->n, sizeof(key), by_pid);
}

const Proc *procscan_find(const Procs *procs, pid_t pid) {
        return find(procs, pid);
}

/* What the child says of one process, before its texts. */
typedef struct Words {
        pid_t pid;
        bool program_trusted; /* root's, and only root may write it */
        uint32_t cmdline_n;
        uint32_t environ_n;
} Words;

typedef struct Ask {
        const pid_t *pids;
        size_t n;
} Ask;

static size_t slurp(int dir_fd, const char *name, char *ret, size_t size) {
        int n = read_at(dir_fd, name, ret, size);

        return n < 0 ? 0 : (size_t) n;
}

/* In the child. */
static void read_words(int out, void *userdata) {
        const Ask *ask = userdata;
        char cmdline[PODOF_CMDLINE_MAX + 1], environ_kept[PODOF_ENVIRON_MAX];
        _cleanup_free_ char *all = malloc(ENVIRON_MAX + 1);

        for (size_t i = 0; all && i < ask->n; i++) {
                _cleanup_close_ int dir_fd = open_pid(ask->pids[i]);
                Words words = { .pid = ask->pids[i] };
                struct stat st;

                if (dir_fd >= 0) {
                        words.cmdline_n = (uint32_t) slurp(dir_fd, "cmdline", cmdline, sizeof(cmdline));
                        words.environ_n = (uint32_t) podof_filter(all, slurp(dir_fd, "environ", all, ENVIRON_MAX + 1),
                                                                  environ_kept);
                        words.program_trusted = fstatat(dir_fd, "exe", &st, 0) == 0 && S_ISREG(st.st_mode) &&
                                                st.st_uid == 0 && !(st.st_mode & 022);
                }
                if (util_write_all(out, &words, sizeof(words)) < 0 ||
                    util_write_all(out, cmdline, words.cmdline_n) < 0 ||
                    util_write_all(out, environ_kept, words.environ_n) < 0)
                        return;
        }
}

static int take_words(Procs *procs, Aside *aside) {
        char cmdline[PODOF_CMDLINE_MAX], environ_kept[PODOF_ENVIRON_MAX];
        Words words;
        Podof volume;
        Proc *proc;
        int r;

        r = aside_read(aside, &words, sizeof(words));
        if (r < 0)
                return r;
        if (words.cmdline_n > sizeof(cmdline) || words.environ_n > sizeof(environ_kept))
                return -EBADMSG;
        r = aside_read(aside, cmdline, words.cmdline_n);
        if (r < 0)
                return r;
        r = aside_read(aside, environ_kept, words.environ_n);
        if (r < 0)
                return r;
        proc = find(procs, words.pid);
        if (!proc)
                return 0;
        proc->is_copy = !words.program_trusted && strncmp(proc->exe, "/memfd:", 7) == 0;
        if (words.program_trusted || proc->is_copy)
                proc->kind = podof_kind(proc->exe);
        podof_volume(cmdline, proc->kind == PODOF_OTHER ? words.cmdline_n : 0, &volume);
        if (proc->kind == PODOF_OTHER && words.environ_n == 0 && !volume.is_volume)
                return 0;
        proc->podof = malloc(sizeof(*proc->podof));
        if (!proc->podof)
                return -ENOMEM;
        if (volume.is_volume && words.environ_n == 0) {
                *proc->podof = volume;
                return 0;
        }
        podof_cmdline(proc->kind, cmdline, words.cmdline_n, proc->podof);
        if (proc->kind == PODOF_OTHER)
                podof_environ(environ_kept, words.environ_n, proc->podof);
        return 0;
}

/* Asks a child about @pids. One that does not answer costs a child, and the rest is asked of the next. */
static int ask(Procs *procs, Asides *asides, const pid_t *pids, size_t n) {
        uint64_t begin = clk_monotonic();

        for (size_t i = 0; i < n;) {
                Ask asked = { pids + i, n - i };
                Aside aside = ASIDE_NULL;
                int r = aside_start(asides, read_words, &asked, &aside);

                while (r == 0 && i < n) {
                        r = take_words(procs, &aside);
                        i += r == 0;
                        if (r == 0 && clk_monotonic() - begin > CMDLINES_NS)
                                r = -ETIME;
                }
                aside_end(&aside);
                if (r == -ETIMEDOUT || r == -EPIPE) {
                        Proc *proc = find(procs, pids[i++]);

                        if (proc)
                                proc->silent = true;
                } else if (r < 0) {
                        procs->incomplete = true;
                        return r == -ENOMEM ? r : 0;
                }
        }
        return 0;
}

/* Could it be one of the node's own programs? Those in no pod come first: a container cannot push them out. */
static bool worth_asking(const Proc *proc, bool in_pod) {
        return proc->known && proc->uid == 0 && proc->host_pid && proc->cgroup.in_pod == in_pod &&
               proc->stat.state != 'Z';
}

static int ask_all(Procs *procs, Asides *asides) {
        _cleanup_free_ pid_t *pids = calloc(PROCSCAN_ASIDE_MAX, sizeof(*pids));
        size_t n = 0;

        if (!pids)
                return -ENOMEM;
        for (int in_pod = 0; in_pod < 2; in_pod++)
                for (size_t i = 0; i < procs->n; i++)
                        if (worth_asking(&procs->procs[i], in_pod)) {
                                if (n == PROCSCAN_ASIDE_MAX) {
                                        procs->incomplete = true;
                                        break;
                                }
                                pids[n++] = procs->procs[i].stat.pid;
                        }
        return ask(procs, asides, pids, n);
}

/* Judges @proc and those above it that are not judged yet. */
static void judge(Procs *procs, Proc *proc, unsigned depth) {
        Proc *parent = proc->parent >= 0 ? &procs->procs[proc->parent] : NULL;

        if (proc->judged)
                return;
        proc->judged = true;
        if (parent && depth < PROCSCAN_DEPTH)
                judge(procs, parent, depth + 1);
        /* A copy is the runtime if a shim, a monitor, an engine or a runtime has started it. */
        if (proc->is_copy &&
            !(parent && parent->trusted && parent->kind != PODOF_OTHER && parent->kind != PODOF_KUBELET))
                proc->kind = PODOF_OTHER;
        if (parent && parent->trusted && (parent->kind == PODOF_RUNTIME || parent->below_runtime))
                proc->below_runtime = true;
        if (!proc->known || proc->uid != 0 || !proc->host_pid)
                return;
        proc->trusted = !proc->cgroup.in_pod || proc->cgroup.is_monitor || proc->below_runtime;
}

static bool below_kubelet(const Procs *procs, const Proc *proc) {
        for (unsigned depth = 0; depth < PROCSCAN_DEPTH && proc->parent >= 0; depth++) {
                proc = &procs->procs[proc->parent];
                if (proc->kind == PODOF_KUBELET && proc->trusted)
                        return true;
        }
        return false;
}

static void judge_all(Procs *procs) {
        for (size_t i = 0; i < procs->n; i++) {
                const Proc *parent = find(procs, procs->procs[i].stat.ppid);

                procs->procs[i].parent = parent ? (int) (parent - procs->procs) : -1;
        }
        for (size_t i = 0; i < procs->n; i++)
                judge(procs, &procs->procs[i], 0);
        for (size_t i = 0; i < procs->n; i++) {
                Proc *proc = &procs->procs[i];

                if ((!proc->trusted && !proc->below_runtime) ||
                    (proc->podof && proc->podof->is_volume && !below_kubelet(procs, proc))) {
                        proc->kind = PODOF_OTHER;
                        free(proc->podof);
                        proc->podof = NULL;
                }
        }
}

int procscan_run(Asides *asides, Procs *ret) {
        Procs procs = { .ticks_per_s = (uint64_t) sysconf(_SC_CLK_TCK) };
        struct timespec now;
        struct dirent *entry;
        DIR *dir = opendir("/proc");
        int r = 0;

        if (!dir)
                return -errno;
        if (procscan_read_all(1, "cgroup", PROCFILE_SMALL_MAX, &procs.base, &procs.base_n) < 0)
                procs.base_n = 0;
        while (r == 0 && (entry = readdir(dir))) {
                uint64_t pid;

                if (util_parse_u64(entry->d_name, strlen(entry->d_name), &pid) < 0 || pid == 0 || pid > INT32_MAX)
                        continue;
                if (procs.n == PROCSCAN_MAX) {
                        procs.more = true;
                        break;
                }
                r = look_at(&procs, (pid_t) pid);
        }
        (void) closedir(dir);
        (void) clock_gettime(CLOCK_BOOTTIME, &now);
        procs.now_ticks =
                (uint64_t) now.tv_sec * procs.ticks_per_s + (uint64_t) now.tv_nsec / (NSEC_PER_SEC / procs.ticks_per_s);
        if (r == 0 && procs.n > 0) {
                qsort(procs.procs, procs.n, sizeof(*procs.procs), by_pid);
                r = ask_all(&procs, asides);
        }
        if (r < 0) {
                procscan_deinit(&procs);
                return r;
        }
        judge_all(&procs);
        *ret = procs;
        return 0;
}

void procscan_deinit(Procs *procs) {
        for (size_t i = 0; i < procs->n; i++)
                free(procs->procs[i].podof);
        free(procs->procs);
        free(procs->base);
        *procs = (Procs) PROCS_NULL;
}

uint64_t procscan_age_ns(const Procs *procs, const Proc *proc) {
        uint64_t ticks = procs->now_ticks > proc->stat.start_ticks ? procs->now_ticks - proc->stat.start_ticks : 0;

        return ticks * (NSEC_PER_SEC / procs->ticks_per_s);
}

const char *procscan_name(const Proc *proc) {
        const char *slash = strrchr(proc->exe, '/');

        /* An interpreter is not what runs, and a copy of a runtime has no name: then the process's own says more. */
        if (!slash || !slash[1] || strncmp(proc->exe, "/memfd:", 7) == 0 || proc->cgroup.in_pod)
                return proc->stat.comm;
        if (strncmp(slash + 1, proc->stat.comm, strlen(proc->stat.comm)) != 0 && *proc->stat.comm)
                return proc->stat.comm;
        return slash + 1;
}

bool procscan_same(const Proc *proc) {
        char text[PROCFILE_SMALL_MAX];
        ProcfileStat stat;
        ssize_t n = procscan_read(proc->stat.pid, "stat", text, sizeof(text));

        return n >= 0 && procfile_stat(text, (size_t) n, &stat) == 0 && stat.start_ticks == proc->stat.start_ticks;
}
