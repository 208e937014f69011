#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "bypass.h"
#include "flagedit.h"
#include "leftovers.h"
#include "install.h"
#include "netunix.h"
#include "nodefile.h"
#include "status.h"
#include "storeschema.h"
#include "watchstate.h"

#define UNITS_DIR "/etc/systemd/system"
#define WRITTEN   "# Written by `podspan install kubelet`"
#define TMPFILES  "/etc/tmpfiles.d/podspan-bypass.conf"

#define WATCHSTATE_NEW "." WATCHSTATE_FILE

/* What podspan makes in its two directories, by the begin of the name. */
static const char *const state_names[] = { ".counters", WATCHSTATE_NEW, "context", "counters",     "cri.sock",
                                           "run",       "spool",        "tally",   WATCHSTATE_FILE };
static const char *const store_names[] = { STORESCHEMA_FILE, "podspand.lock", "podspand.reading" };

static const char *const unit_names[] = { "podspand.service", "podspan-watch.service", "run-podspan-spool.mount" };

void leftovers_deinit(Leftovers *left) {
        for (size_t i = 0; i < left->n_paths; i++)
                free(left->paths[i]);
        for (size_t i = 0; i < left->n_units; i++)
                free(left->units[i]);
        free(left->in_use);
        *left = (Leftovers) LEFTOVERS_NULL;
}

static int add_path(Leftovers *left, const char *path, bool folder_only) {
        if (left->n_paths == LEFTOVERS_MAX)
                return -E2BIG;
        left->paths[left->n_paths] = strdup(path);
        if (!left->paths[left->n_paths])
                return -ENOMEM;
        left->folder_only[left->n_paths++] = folder_only;
        return 0;
}

static int add_unit(Leftovers *left, const char *name) {
        for (size_t i = 0; i < left->n_units; i++)
                if (strcmp(left->units[i], name) == 0)
                        return 0;
        if (left->n_units == LEFTOVERS_MAX)
                return -E2BIG;
        left->units[left->n_units] = strdup(name);
        if (!left->units[left->n_units])
                return -ENOMEM;
        left->n_units++;
        return 0;
}

static int type_of(const Leftovers *left, const char *path, mode_t *ret) {
        _cleanup_close_ int fd = nodefile_open(left->root_fd, path, O_PATH | O_NOFOLLOW);
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        *ret = st.st_mode & S_IFMT;
        return 0;
}

static int add_if_there(Leftovers *left, const char *path, bool folder_only) {
        mode_t type;
        int r = type_of(left, path, &type);

        return r == -ENOENT ? 0 : r < 0 ? r : add_path(left, path, folder_only);
}

static bool begins(const char *name, const char *prefix) {
        return strncmp(name, prefix, strlen(prefix)) == 0;
}

typedef struct Scan {
        Leftovers *left;
        const char *const *names;
        size_t n_names;
} Scan;

static int on_entry(const char *path, void *userdata) {
        const Scan *scan = userdata;
        const char *name = strrchr(path, '/') + 1;

        for (size_t i = 0; i < scan->n_names; i++)
                if (begins(name, scan->names[i]))
                        return add_path(scan->left, path, false);
        return 0;
}

static int directory(Leftovers *left, const char *dir, const char *const *names, size_t n_names) {
        Scan scan = { left, names, n_names };
        int r;

        r = nodefile_list(left->root_fd, dir, NULL, on_entry, &scan);
        return r < 0 ? r : add_if_there(left, dir, true);
}

static bool is_cri_unit(const char *name, const char *suffix) {
        size_t n = strlen(name), suffix_n = strlen(suffix);

        return begins(name, "podspan-cri@") && n > suffix_n && strcmp(name + n - suffix_n, suffix) == 0;
}

static bool is_ours(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(unit_names); i++)
                if (strcmp(name, unit_names[i]) == 0)
                        return true;
        return is_cri_unit(name, ".service") || is_cri_unit(name, ".socket");
}

/* A link of `systemctl enable`: to a unit that is there, or no longer. */
static int on_link(const char *path, void *userdata) {
        Leftovers *left = userdata;
        const char *name = strrchr(path, '/') + 1;
        mode_t type = 0;
        int r;

        if (!is_ours(name) || type_of(left, path, &type) < 0 || type != S_IFLNK)
                return 0;
        r = add_unit(left, name);
        return r < 0 ? r : add_path(left, path, false);
}

static bool is_written_by_us(const Leftovers *left, const char *path) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;

        return nodefile_read(left->root_fd, path, &text, NULL) >= 0 && begins(text.p, WRITTEN);
}

static int on_drop_ins(const char *path, void *userdata) {
        Leftovers *left = userdata;
        const char *name = strrchr(path, '/') + 1;
        _cleanup_free_ char *drop_in = NULL;
        int r;

        if (!is_cri_unit(name, ".service.d"))
                return 0;
        if (asprintf(&drop_in, "%s/10-runtime.conf", path) < 0) {
                drop_in = NULL;
                return -ENOMEM;
        }
        if (is_written_by_us(left, drop_in) && (r = add_path(left, drop_in, false)) < 0)
                return r;
        return add_path(left, path, true);
}

static int on_wants(const char *path, void *userdata) {
        Leftovers *left = userdata;

        return nodefile_list(left->root_fd, path, NULL, on_link, left);
}

static int units(Leftovers *left) {
        static const char *const suffixes[] = { ".wants", ".requires" };
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(suffixes) && r >= 0; i++)
                r = nodefile_list(left->root_fd, UNITS_DIR, suffixes[i], on_wants, left);
        return r < 0 ? r : nodefile_list(left->root_fd, UNITS_DIR, ".service.d", on_drop_ins, left);
}

/* A process of ours, which its unit keeps: both its units are to be stopped, or the socket would start it again. */
static int processes(Leftovers *left, NodeprocKind kind, FILE *out) {
        _cleanup_nodeprocs_ Nodeprocs found = NODEPROC_NULL;
        int r;

        r = nodeproc_find(left->root_fd, kind, &found);
        for (size_t i = 0; i < found.n && r >= 0; i++) {
                _cleanup_free_ char *listen = NULL;
                const char *name = NULL;
                char unit[64];

                if (found.procs[i].trust == NODEPROC_REFUSED)
                        continue;
                fprintf(out, "%s runs (pid %d)\n", nodeproc_name(kind), (int) found.procs[i].pid);
                if (kind != NODEPROC_CRI) {
                        r = add_unit(left, "podspan-watch.service");
                        continue;
                }
                if (flagedit_argv(found.procs[i].cmdline.p, found.procs[i].cmdline.n, "--listen", &listen) >= 0)
                        name = kube_runtime(listen);
                for (unsigned j = 0; j < 2 && name && r >= 0; j++) {
                        (void) snprintf(unit, sizeof(unit), "podspan-cri@%s.%s", name, j == 0 ? "socket" : "service");
                        r = add_unit(left, unit);
                }
        }
        return r;
}

static int podspand(Leftovers *left, FILE *out) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "%s/" STATUS_LOCK, left->store_dir) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = nodefile_open(left->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) >= 0 || errno != EWOULDBLOCK)
                return 0;
        fputs("podspand runs\n", out);
        return add_unit(left, "podspand.service");
}

/* Who still dials: kubelet by its command line, anybody by the kernel's list of sockets. */
static int callers(Leftovers *left, FILE *out) {
        static const char *const names[] = { "containerd", "crio" };
        _cleanup_(kube_deinit) Kube kube = KUBE_NULL;
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        _cleanup_free_ char *path = NULL;
        const char *endpoint;
        int r;

        r = kube_find(left->root_fd, &kube);
        if (r < 0)
                return r;
        endpoint = kube.running_endpoint ? kube.running_endpoint : kube_endpoint(&kube, false, NULL);
        path = kube_path(endpoint);
        if (!path)
                return -ENOMEM;
        if (nodefile_is_beneath(left->root_fd, left->state_dir, path))
                fprintf(out, "kubelet dials %s\n", endpoint);
        if (nodefile_read_proc(left->root_fd, "/proc/net/unix", &text) < 0)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_free_ char *name = NULL;
                NetunixSocket open;

                if (asprintf(&name, "%s/run/%s/%s.sock", left->state_dir, names[i], names[i]) < 0) {
                        name = NULL;
                        return -ENOMEM;
                }
                netunix_find(text.p, name, &open);
                /* The list has names that processes gave, in whatever mount namespace. Here the socket itself is asked,
                 * and who has connections is the podspan-cri that runs. */
                if (left->here)
                        open = (NetunixSocket){ .listening = bypass_dial(left->root_fd, name) >= 0 };
                if (open.connections > 0)
                        fprintf(out, "%u connections are open through %s\n", open.connections, name);
                /* systemd listens for a podspan-cri that does not run. */
                if (open.listening) {
                        char unit[64];

                        (void) snprintf(unit, sizeof(unit), "podspan-cri@%s.socket", names[i]);
                        fprintf(out, "somebody listens on %s\n", name);
                        r = add_unit(left, unit);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int mounts(Leftovers *left, FILE *out) {
        _cleanup_free_ char *spool = NULL;
        _cleanup_close_ int fd = -EBADF, up = -EBADF;
        struct stat inner, outer;

        if (asprintf(&spool, "%s/spool", left->state_dir) < 0) {
                spool = NULL;
                return -ENOMEM;
        }
        fd = nodefile_open(left->root_fd, spool, O_RDONLY | O_DIRECTORY);
        up = nodefile_open(left->root_fd, left->state_dir, O_RDONLY | O_DIRECTORY);
        if (fd < 0 || up < 0 || fstat(fd, &inner) < 0 || fstat(up, &outer) < 0 || inner.st_dev == outer.st_dev)
                return 0;
        fprintf(out, "the spool is mounted on %s\n", spool);
        return add_unit(left, "run-podspan-spool.mount");
}

int leftovers_find(Leftovers *ret) {
        FILE *out = open_memstream(&ret->in_use, &ret->in_use_n);
        int r;

        if (!out)
                return -ENOMEM;
        if ((r = units(ret)) >= 0 && (r = callers(ret, out)) >= 0 && (r = processes(ret, NODEPROC_CRI, out)) >= 0 &&
            (r = processes(ret, NODEPROC_WATCH, out)) >= 0 && (r = podspand(ret, out)) >= 0)
                r = mounts(ret, out);
        if (fclose(out) == EOF && r >= 0)
                r = -ENOMEM;
        if (r < 0 || (is_written_by_us(ret, TMPFILES) && (r = add_path(ret, TMPFILES, false)) < 0) ||
            (r = directory(ret, ret->state_dir, state_names, ARRAY_SIZE(state_names))) < 0 ||
            (r = directory(ret, ret->store_dir, store_names, ARRAY_SIZE(store_names))) < 0)
                return r;
        return ret->here ? add_if_there(ret, INSTALL_STAGE_DIR, true) : 0;
}

int leftovers_remove(const Leftovers *left, const char **reterr_path) {
        int r;

        for (size_t i = 0; i < left->n_paths; i++) {
                if (left->folder_only[i]) {
                        nodefile_rmdir(left->root_fd, left->paths[i]);
                        continue;
                }
                r = nodefile_remove_tree(left->root_fd, left->paths[i]);
                if (r < 0) {
                        *reterr_path = left->paths[i];
                        return r;
                }
        }
        return 0;
}
