#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "clk.h"
#include "fdscan.h"

int fdscan_want(Fdscan *scan, const FdWant *want) {
        for (size_t i = 0; i < scan->n; i++)
                if (scan->wants[i].kind == want->kind && scan->wants[i].ino == want->ino &&
                    scan->wants[i].major == want->major && scan->wants[i].minor == want->minor &&
                    strcmp(scan->wants[i].name, want->name) == 0)
                        return (int) i;
        if (scan->n == FDSCAN_WANTS_MAX)
                return -E2BIG;
        if (scan->n == scan->n_allocated) {
                size_t n = scan->n_allocated == 0 ? 16 : 2 * scan->n_allocated;
                FdWant *more = reallocarray(scan->wants, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                scan->wants = more;
                scan->n_allocated = n;
        }
        scan->wants[scan->n] = *want;
        return (int) scan->n++;
}

void fdscan_deinit(Fdscan *scan) {
        free(scan->wants);
        *scan = (Fdscan) FDSCAN_NULL;
}

/* One process, whose mounts are read once, and only if a device is in question. */
typedef struct Pass {
        Fdscan *scan;
        const Proc *proc;
        int dir_fd; /* /proc/PID */
        char *mounts;
        size_t mounts_n;
        bool mounts_read;
} Pass;

static bool read_fdinfo(const Pass *pass, const char *number, ProcfileFdinfo *ret) {
        char name[32], text[PROCFILE_SMALL_MAX];
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        (void) snprintf(name, sizeof(name), "fdinfo/%.16s", number);
        fd = openat(pass->dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text));
        return n > 0 && procfile_fdinfo(text, (size_t) n, ret) == 0;
}

/* Is the descriptor's mount of the device that is in question? A file of another one may have the same number. */
static bool same_device(Pass *pass, const FdWant *want, const ProcfileFdinfo *info) {
        ProcfileMount mount;

        if (!want->has_device || info->mnt_id < 0)
                return true;
        if (!pass->mounts_read) {
                pass->mounts_read = true;
                if (procscan_read_all(pass->proc->stat.pid, "mountinfo", PROCFILE_TABLE_MAX, &pass->mounts,
                                      &pass->mounts_n) < 0)
                        pass->mounts_n = 0;
        }
        return procfile_mount_by_id(pass->mounts, pass->mounts_n, info->mnt_id, &mount) < 0 ||
               (mount.major == want->major && mount.minor == want->minor);
}

static void keep(FdWant *want, const Proc *proc, int fd, uint32_t flags) {
        want->n_all++;
        if (want->n_holders < FDSCAN_HOLDERS_MAX)
                want->holders[want->n_holders++] = (FdHolder){ proc, fd, flags };
}

static void match(Pass *pass, const char *number, const char *link) {
        uint64_t socket = procfile_link_inode(link, "socket"), pipe = procfile_link_inode(link, "pipe");
        const char *slash = *link == '/' ? strrchr(link, '/') : NULL;
        bool has_info = false, tried = false;
        ProcfileFdinfo info = {};

        for (size_t i = 0; i < pass->scan->n; i++) {
                FdWant *want = &pass->scan->wants[i];
                size_t name_n = strlen(want->name);

                if (want->kind == FDWANT_FUSE     ? strcmp(link, "/dev/fuse") != 0
                    : want->kind == FDWANT_SOCKET ? socket != want->ino || socket == 0
                    : want->kind == FDWANT_PIPE   ? pipe != want->ino || pipe == 0
                                                  : !slash || strncmp(slash + 1, want->name, name_n) != 0 ||
                                                          (slash[1 + name_n] != '\0' && slash[1 + name_n] != ' '))
                        continue;
                if (!tried)
                        has_info = read_fdinfo(pass, number, &info);
                tried = true;
                if (want->kind == FDWANT_SOCKET) {
                        keep(want, pass->proc, atoi(number), info.flags);
                        continue;
                }
                if (!has_info)
                        continue;
                if (want->kind == FDWANT_FUSE ? info.fuse < 0 || (unsigned) info.fuse == want->minor
                                              : want->kind == FDWANT_PIPE)
                        keep(want, pass->proc, atoi(number), info.flags);
                else if (want->kind == FDWANT_FUSE)
                        continue;
                else if (want->kind == FDWANT_LOCK) {
                        if ((info.has_flock || info.has_posix) && info.lock_ino == want->ino &&
                            info.lock_major == want->major && info.lock_minor == want->minor)
                                keep(want, pass->proc, atoi(number), info.flags);
                } else if ((info.ino == 0 || info.ino == want->ino) && !(info.flags & O_PATH) &&
                           same_device(pass, want, &info))
                        keep(want, pass->proc, atoi(number), info.flags);
        }
}

static void scan_proc(Fdscan *scan, const Proc *proc, uint64_t end_ns) {
        char path[32], link[4096];
        Pass pass = { .scan = scan, .proc = proc, .dir_fd = -EBADF };
        const struct dirent *entry;
        size_t n_seen = 0;
        DIR *dir = NULL;
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) proc->stat.pid);
        pass.dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd = pass.dir_fd < 0 ? -1 : openat(pass.dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                close_fd(fd);
        while (dir && (entry = readdir(dir))) {
                ssize_t n;

                if (*entry->d_name == '.')
                        continue;
                if (++n_seen > FDSCAN_PROC_MAX || ((n_seen & 255) == 0 && clk_monotonic() > end_ns)) {
                        scan->incomplete = true;
                        break;
                }
                n = readlinkat(fd, entry->d_name, link, sizeof(link) - 1);
                if (n <= 0)
                        continue;
                link[n] = '\0';
                match(&pass, entry->d_name, link);
        }
        if (dir)
                (void) closedir(dir);
        close_fd(pass.dir_fd);
        free(pass.mounts);
}

int fdscan_run(Fdscan *scan, const Procs *procs) {
        uint64_t end_ns = clk_monotonic() + FDSCAN_NS;

        if (scan->n == 0)
                return 0;
        for (int in_pod = 0; in_pod < 2; in_pod++)
                for (size_t i = 0; i < procs->n; i++) {
                        const Proc *proc = &procs->procs[i];

                        if (proc->cgroup.in_pod != in_pod || proc->stat.flags & PROCFILE_KTHREAD ||
                            proc->stat.state == 'Z')
                                continue;
                        if (clk_monotonic() > end_ns) {
                                scan->incomplete = true;
                                return 0;
                        }
                        scan_proc(scan, proc, end_ns);
                }
        return 0;
}
