#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "cgroupfile.h"
#include "flagedit.h"
#include "nodefile.h"
#include "nodeproc.h"

#define LINK_MAX_N     4096
#define CONTAINER_ID_N 64
#define UUID_N         36

typedef struct Look {
        int root_fd;
        int proc_fd;
        bool real;       /* a proc file system, not files of a tree */
        char mnt_ns[64]; /* of PID 1; "" unknown */
        Bytes cgroup;    /* of PID 1 */
        Nodeprocs *found;
} Look;

const char *nodeproc_name(NodeprocKind kind) {
        static const char *const names[] = { [NODEPROC_KUBELET] = "kubelet",
                                             [NODEPROC_CONTAINERD] = "containerd",
                                             [NODEPROC_CRIO] = "crio",
                                             [NODEPROC_CRI] = "podspan-cri",
                                             [NODEPROC_WATCH] = "podspan-watch" };

        return names[kind];
}

static void proc_deinit(Nodeproc *proc) {
        bytes_deinit(&proc->cmdline);
        close_fd(proc->exe_fd);
        close_fd(proc->dir_fd);
}

void nodeproc_deinit(Nodeprocs *found) {
        for (size_t i = 0; i < found->n; i++)
                proc_deinit(&found->procs[i]);
        *found = (Nodeprocs) NODEPROC_NULL;
}

_printf_(3, 4) static bool refuse(Nodeproc *proc, bool unknown, const char *format, ...) {
        va_list args;

        proc->trust = NODEPROC_REFUSED;
        proc->unknown = unknown;
        va_start(args, format);
        (void) vsnprintf(proc->why, sizeof(proc->why), format, args);
        va_end(args);
        return false;
}

/* Folders of a cgroup path, one a call. */
static bool next_folder(const char **path, size_t *n, const char **ret, size_t *ret_n) {
        const char *end;

        while (*n > 0 && **path == '/') {
                (*path)++;
                (*n)--;
        }
        if (*n == 0)
                return false;
        end = memchr(*path, '/', *n);
        *ret = *path;
        *ret_n = end ? (size_t) (end - *path) : *n;
        *path += *ret_n;
        *n -= *ret_n;
        return true;
}

static bool is_hex(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Has the folder's name a container's id in it, as every engine writes it: 64 hexadecimal digits? */
static bool has_container_id(const char *name, size_t n) {
        size_t run = 0;

        for (size_t i = 0; i < n && run < CONTAINER_ID_N; i++)
                run = is_hex(name[i]) ? run + 1 : 0;
        return run == CONTAINER_ID_N;
}

/* "pod", then a pod's UID, with the dashes or with the underscores of systemd's names. */
static bool has_pod_uid(const char *name, size_t n) {
        const char *at = memmem(name, n, "pod", 3);

        if (!at || n - (size_t) (at - name) < 3 + UUID_N)
                return false;
        for (size_t i = 0; i < UUID_N; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                char c = at[3 + i];

                if (dash ? c != '-' && c != '_' : !is_hex(c))
                        return false;
        }
        return true;
}

static bool starts_with(const char *s, size_t n, const char *prefix) {
        size_t prefix_n = strlen(prefix);

        return n >= prefix_n && memcmp(s, prefix, prefix_n) == 0;
}

static bool ends_with(const char *s, size_t n, const char *suffix) {
        size_t suffix_n = strlen(suffix);

        return n >= suffix_n && memcmp(s + n - suffix_n, suffix, suffix_n) == 0;
}

/* What is left of @path below the node's own cgroup, that of PID 1 without systemd's scope for it. */
static void below_base(const char **path, size_t *n, const char *base, size_t base_n) {
        static const char scope[] = "/init.scope";

        if (ends_with(base, base_n, scope))
                base_n -= sizeof(scope) - 1;
        while (base_n > 0 && base[base_n - 1] == '/')
                base_n--;
        if (base_n > 0 && *n >= base_n && memcmp(*path, base, base_n) == 0 &&
            (*n == base_n || (*path)[base_n] == '/')) {
                *path += base_n;
                *n -= base_n;
        }
}

bool nodeproc_path_in_pod(const char *path, size_t n, const char *base, size_t base_n) {
        const char *name;
        size_t name_n;

        below_base(&path, &n, base, base_n);
        while (next_folder(&path, &n, &name, &name_n))
                if (starts_with(name, name_n, "kubepods") || has_container_id(name, name_n) ||
                    has_pod_uid(name, name_n))
                        return true;
        return false;
}

bool nodeproc_path_is_unit(const char *path, size_t n) {
        const char *name;
        size_t name_n;

        while (next_folder(&path, &n, &name, &name_n))
                if (ends_with(name, name_n, ".service"))
                        return true;
        return false;
}

static int open_at(const Look *look, int dir_fd, const char *name) {
        struct stat st;
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        /* A tree may hold anything, a terminal's device included. */
        if (!look->real && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
                return -EINVAL;
        return TAKE_FD(fd);
}

static int read_at(const Look *look, int dir_fd, const char *name, Bytes *ret) {
        _cleanup_close_ int fd = open_at(look, dir_fd, name);

        return fd < 0 ? fd : util_read_fd(fd, BYTES_FILE_MAX, &ret->p, &ret->n);
}

static int read_link_at(int dir_fd, const char *name, char *ret, size_t size) {
        ssize_t n = readlinkat(dir_fd, name, ret, size - 1);

        if (n < 0)
                return -errno;
        ret[n] = '\0';
        return 0;
}

/* The line of @hierarchy in PID 1's file; an empty path where there is none. */
static void base_of(const Look *look, const CgroupfileLine *hierarchy, const char **ret, size_t *ret_n) {
        const char *s = look->cgroup.p;
        size_t n = look->cgroup.n;
        CgroupfileLine line;

        *ret = "";
        *ret_n = 0;
        while (cgroupfile_next(&s, &n, &line) > 0)
                if (line.n_controllers == hierarchy->n_controllers &&
                    memcmp(line.controllers, hierarchy->controllers, line.n_controllers) == 0) {
                        *ret = line.path;
                        *ret_n = line.n_path;
                        return;
                }
}

/* The value of @key, "Uid:", in /proc/PID/status; NULL: there is none. */
static const char *status_value(const Bytes *status, const char *key) {
        size_t key_n = strlen(key);

        for (const char *line = status->p; line && *line;) {
                const char *eol = strchr(line, '\n');

                if (strncmp(line, key, key_n) == 0)
                        return line + key_n;
                line = eol ? eol + 1 : NULL;
        }
        return NULL;
}

static bool check_status(Nodeproc *proc, const Bytes *status, unsigned *ret_parent) {
        const char *uid = status_value(status, "Uid:"), *ns = status_value(status, "NSpid:"),
                   *parent = status_value(status, "PPid:");
        unsigned ids[4], outer, inner;

        if (!uid || sscanf(uid, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
                return refuse(proc, true, "its user cannot be read");
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
                if (ids[i] != 0)
                        return refuse(proc, false, "its user is %u", ids[i]);
        if (!ns || !parent || sscanf(parent, "%u", ret_parent) != 1)
                return refuse(proc, true, "its pid namespace and parent cannot be read");
        ns = strndupa(ns, strcspn(ns, "\n"));
        if (sscanf(ns, "%u %u", &outer, &inner) != 1)
                return refuse(proc, false, "it is in a pid namespace of its own");
        return true;
}

/* The program's name in the target of /proc/PID/exe. */
static bool has_name(const char *target, const char *name) {
        const char *base = strrchr(target, '/');
        size_t n = strlen(name);

        base = base ? base + 1 : target;
        if (strncmp(base, name, n) != 0)
                return false;
        /* "kubelet-1.34.1", "kubelet (deleted)" after an update; but containerd-shim is not containerd. */
        base += n;
        return *base == '\0' || *base == ' ' ||
               (*base == '-' && base[1 + (base[1] == 'v')] >= '0' && base[1 + (base[1] == 'v')] <= '9');
}

static bool check_program(const Look *look, Nodeproc *proc, int dir_fd, const char *target, const char *name) {
        struct stat st;

        if (!*target)
                return refuse(proc, true, "its program cannot be seen");
        proc->exe_fd =
                look->real ? openat(dir_fd, "exe", O_PATH | O_CLOEXEC) : nodefile_open(look->root_fd, target, O_PATH);
        if (proc->exe_fd < 0 || fstat(proc->exe_fd, &st) < 0)
                return refuse(proc, true, "its program cannot be seen");
        if (!has_name(target, name))
                return refuse(proc, false, "it executes %.100s", target);
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_mode & 022)
                return refuse(proc, false, "others than root can write its program %.100s", target);
        return true;
}

static bool check_cgroup(const Look *look, Nodeproc *proc, const Bytes *cgroup, unsigned parent) {
        const char *s = cgroup->p, *base;
        size_t n = cgroup->n, base_n;
        bool any = false, unit = false;
        CgroupfileLine line;
        int r;

        while ((r = cgroupfile_next(&s, &n, &line)) > 0) {
                any = true;
                base_of(look, &line, &base, &base_n);
                if (nodeproc_path_in_pod(line.path, line.n_path, base, base_n))
                        return refuse(proc, false, "it is in a pod or container (%.*s)",
                                      (int) MIN(line.n_path, (size_t) 100), line.path);
                if (line.n_controllers == 0 || cgroupfile_has(&line, "name=systemd")) {
                        below_base(&line.path, &line.n_path, base, base_n);
                        unit = unit || nodeproc_path_is_unit(line.path, line.n_path);
                }
        }
        if (r < 0 || !any)
                return refuse(proc, true, "its cgroup cannot be read");
        if (unit && parent != 1)
                return refuse(proc, false, "it is not the main process of its unit");
        return true;
}

static bool check_mount_ns(const Look *look, Nodeproc *proc, int dir_fd) {
        char mnt_ns[sizeof(look->mnt_ns)];

        /* Their units give them a mount namespace: nothing of them is read by its path. */
        if (look->found->kind == NODEPROC_CRI || look->found->kind == NODEPROC_WATCH)
                return true;
        if (!*look->mnt_ns)
                return refuse(proc, true, "the mount namespace of PID 1 cannot be seen");
        if (read_link_at(dir_fd, "ns/mnt", mnt_ns, sizeof(mnt_ns)) < 0)
                return refuse(proc, true, "its mount namespace cannot be seen");
        if (strcmp(mnt_ns, look->mnt_ns) != 0) {
                proc->trust = NODEPROC_ELSEWHERE;
                (void) snprintf(proc->why, sizeof(proc->why), "it is in a mount namespace of its own");
                return false;
        }
        return true;
}

static void judge(const Look *look, Nodeproc *proc, int dir_fd, const char *target) {
        _cleanup_bytes_ Bytes status = BYTES_NULL, cgroup = BYTES_NULL, times = BYTES_NULL;
        unsigned long long start;
        unsigned parent = 0;
        const char *end;

        if (read_at(look, dir_fd, "status", &status) < 0) {
                (void) refuse(proc, true, "its status cannot be read");
                return;
        }
        if (!check_status(proc, &status, &parent) ||
            !check_program(look, proc, dir_fd, target, nodeproc_name(look->found->kind)))
                return;
        if (read_at(look, dir_fd, "cgroup", &cgroup) < 0) {
                (void) refuse(proc, true, "its cgroup cannot be read");
                return;
        }
        if (!check_cgroup(look, proc, &cgroup, parent))
                return;
        /* The 22nd field; the second, the name, may hold anything. */
        if (read_at(look, dir_fd, "stat", &times) >= 0 && (end = strrchr(times.p, ')')) &&
            sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                   &start) == 1)
                proc->start_ticks = start;
        if (check_mount_ns(look, proc, dir_fd))
                proc->trust = NODEPROC_BELIEVED;
}

/* A place for one more. Refused ones never push out another: any user can start as many as there is room for. */
static Nodeproc *slot_for(Nodeprocs *found, const Nodeproc *proc) {
        if (found->n < NODEPROC_MAX)
                return &found->procs[found->n++];
        if (proc->trust == NODEPROC_REFUSED) {
                found->n_left_out++;
                return NULL;
        }
        for (size_t i = 0; i < found->n; i++)
                if (found->procs[i].trust == NODEPROC_REFUSED) {
                        proc_deinit(&found->procs[i]);
                        found->n_left_out++;
                        return &found->procs[i];
                }
        found->more = true;
        return NULL;
}

static void look_at(Look *look, const char *number) {
        const char *name = nodeproc_name(look->found->kind), *base;
        Nodeproc proc = { .exe_fd = -EBADF, .dir_fd = -EBADF }, *slot;
        _cleanup_close_ int dir_fd = -EBADF;
        char target[LINK_MAX_N] = "";
        uint64_t pid;

        if (util_parse_u64(number, strlen(number), &pid) < 0 || pid == 0 || pid > INT32_MAX)
                return;
        /* All that is read of it is below this: when the process ends, its number may become another's. */
        dir_fd = openat(look->proc_fd, number, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir_fd < 0 || read_at(look, dir_fd, "cmdline", &proc.cmdline) < 0)
                return;
        if (read_link_at(dir_fd, "exe", target, sizeof(target)) < 0)
                *target = '\0';
        base = proc.cmdline.n > 0 ? strrchr(proc.cmdline.p, '/') : NULL;
        base = base ? base + 1 : proc.cmdline.p;
        if (proc.cmdline.n > 0 && (strcmp(base, name) == 0 || has_name(target, name))) {
                proc.pid = (pid_t) pid;
                judge(look, &proc, dir_fd, target);
                slot = slot_for(look->found, &proc);
                if (slot) {
                        proc.dir_fd = TAKE_FD(dir_fd);
                        *slot = proc;
                        return;
                }
        }
        proc_deinit(&proc);
}

static int by_pid(const void *a, const void *b) {
        const Nodeproc *left = a, *right = b;

        return left->pid < right->pid ? -1 : left->pid > right->pid;
}

int nodeproc_find(int root_fd, NodeprocKind kind, Nodeprocs *ret) {
        _cleanup_close_ int proc_fd = nodefile_open(root_fd, "/proc", O_RDONLY | O_DIRECTORY), first_fd = -EBADF;
        Look look = { .root_fd = root_fd, .proc_fd = proc_fd, .found = ret };
        const struct dirent *entry;
        struct statfs fs;
        DIR *dir;
        int fd;

        *ret = (Nodeprocs){ .kind = kind };
        if (proc_fd < 0)
                return proc_fd == -ENOENT ? 0 : proc_fd;
        if (fstatfs(proc_fd, &fs) < 0)
                return -errno;
        look.real = fs.f_type == PROC_SUPER_MAGIC;
        first_fd = openat(proc_fd, "1", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (first_fd >= 0) {
                if (read_link_at(first_fd, "ns/mnt", look.mnt_ns, sizeof(look.mnt_ns)) < 0)
                        *look.mnt_ns = '\0';
                (void) read_at(&look, first_fd, "cgroup", &look.cgroup);
        }
        /* One at a time, and all: however many processes there are, none of them hides another. */
        fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd >= 0 ? fdopendir(fd) : NULL;
        if (!dir) {
                int r = -errno;

                close_fd(fd);
                bytes_deinit(&look.cgroup);
                return r;
        }
        while ((entry = readdir(dir)))
                look_at(&look, entry->d_name);
        (void) closedir(dir);
        bytes_deinit(&look.cgroup);
        if (ret->n > 0)
                qsort(ret->procs, ret->n, sizeof(*ret->procs), by_pid);
        return 0;
}

static bool matches(const Nodeproc *proc, const char *flag, const char *value) {
        _cleanup_free_ char *given = NULL;

        if (proc->trust == NODEPROC_REFUSED)
                return false;
        return !flag ||
               (flagedit_argv(proc->cmdline.p, proc->cmdline.n, flag, &given) >= 0 && strcmp(given, value) == 0);
}

size_t nodeproc_count(const Nodeprocs *found, const char *flag, const char *value) {
        size_t n = 0;

        for (size_t i = 0; i < found->n; i++)
                n += matches(&found->procs[i], flag, value);
        return n;
}

const Nodeproc *nodeproc_one(const Nodeprocs *found, const char *flag, const char *value) {
        if (found->more || nodeproc_count(found, flag, value) != 1)
                return NULL;
        for (size_t i = 0; i < found->n; i++)
                if (matches(&found->procs[i], flag, value))
                        return &found->procs[i];
        return NULL;
}

bool nodeproc_ambiguous(const Nodeprocs *found) {
        return found->more || nodeproc_count(found, NULL, NULL) > 1;
}

int nodeproc_read(const Nodeproc *proc, const char *name, Bytes *ret) {
        _cleanup_close_ int fd = openat(proc->dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : util_read_fd(fd, BYTES_FILE_MAX, &ret->p, &ret->n);
}

void nodeproc_describe(const Nodeprocs *found, char *ret, size_t size) {
        size_t n = 0;

        *ret = '\0';
        for (size_t i = 0; i < found->n && n < size; i++) {
                const Nodeproc *proc = &found->procs[i];

                n += (size_t) snprintf(ret + n, size - n, "%spid %d%s%s%s", i > 0 ? ", " : "", (int) proc->pid,
                                       *proc->why ? " (" : "", proc->why, *proc->why ? ")" : "");
        }
        if (found->n_left_out + found->more > 0 && n < size)
                (void) snprintf(ret + n, size - n, " and more");
}
