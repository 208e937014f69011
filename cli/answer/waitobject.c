#include <fcntl.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "waitobject.h"

#define PATH_N     4096
#define TCP_SYN    2
#define TCP_LISTEN 10

void waitobject_deinit(Waitobject *objects) {
        for (size_t i = 0; i < WAITOBJECT_NETS_MAX; i++)
                sockdiag_deinit(&objects->nets[i].diag);
        fdscan_deinit(&objects->scan);
        free(objects->locks);
        *objects = (Waitobject) WAITOBJECT_NULL;
}

void waitobject_set_peer(Wait *wait, const Proc *peer) {
        const char *name = procscan_name(peer);

        wait->peer = WAIT_PEER_FOUND;
        wait->peer_pid = peer->stat.pid;
        wait->peer_state = peer->stat.state;
        wait->n_peers = 1;
        util_copy_bounded(wait->peer_name, sizeof(wait->peer_name), name, strlen(name));
}

static void copy(char *to, size_t size, const char *from) {
        util_copy_bounded(to, size, from, strlen(from));
}

#define COPY(to, from) copy(to, sizeof(to), from)

static bool read_link(pid_t pid, const char *name, char *ret, size_t size) {
        char path[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        n = readlink(path, ret, size - 1);
        if (n <= 0)
                return false;
        ret[n] = '\0';
        return true;
}

static bool read_fd_link(pid_t pid, int fd, char *ret, size_t size) {
        char name[32];

        (void) snprintf(name, sizeof(name), "fd/%d", fd);
        return fd >= 0 && read_link(pid, name, ret, size);
}

static bool read_fdinfo(pid_t pid, int fd, ProcfileFdinfo *ret) {
        char name[32], text[PROCFILE_SMALL_MAX];
        ssize_t n;

        (void) snprintf(name, sizeof(name), "fdinfo/%d", fd);
        n = procscan_read(pid, name, text, sizeof(text));
        return n >= 0 && procfile_fdinfo(text, (size_t) n, ret) == 0;
}

/* The mount of the path or, if @mnt_id is not negative, the one of this number, as @pid sees it. */
static bool read_mount(pid_t pid, const char *path, int mnt_id, ProcfileMount *ret) {
        _cleanup_free_ char *text = NULL;
        size_t n;

        if (procscan_read_all(pid, "mountinfo", PROCFILE_TABLE_MAX, &text, &n) < 0)
                return false;
        if (mnt_id >= 0)
                return procfile_mount_by_id(text, n, mnt_id, ret) == 0;
        return procfile_mount_of(text, n, path, ret) == 0;
}

static void want(Waitobject *objects, Wait *wait, const FdWant *what) {
        wait->want = fdscan_want(&objects->scan, what);
        if (wait->peer == WAIT_PEER_NONE)
                wait->peer = WAIT_PEER_UNKNOWN;
}

/* The file's name as descriptors' links end with it. */
static void set_name(FdWant *what, const char *path) {
        const char *slash = strrchr(path, '/');

        COPY(what->name, slash ? slash + 1 : path);
        /* Of a file that was removed the link says so. */
        what->name[strcspn(what->name, " ")] = '\0';
}

static void set_mount(Waitobject *objects, Wait *wait, const ProcfileMount *mount) {
        COPY(wait->mount, mount->point);
        COPY(wait->mount_type, mount->type);
        if (strncmp(mount->type, "fuse", 4) == 0)
                want(objects, wait, &(FdWant){ .kind = FDWANT_FUSE, .minor = mount->minor });
}

/* The child's part: memory of a process, or what a path is. */
typedef struct Memory {
        pid_t pid;
        uint64_t address;
        size_t size;
        bool string; /* it ends with a NUL, maybe just before a page that is not there */
} Memory;

static void read_memory(int out, void *userdata) {
        const Memory *memory = userdata;
        _cleanup_close_ int fd = -EBADF;
        char path[48], buf[PATH_N];
        size_t n = 0, size = MIN(memory->size, sizeof(buf));

        (void) snprintf(path, sizeof(path), "/proc/%d/mem", (int) memory->pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && n < size) {
                uint64_t at = memory->address + n;
                size_t page = 4096 - (size_t) (at & 4095);
                ssize_t k = pread(fd, buf + n, MIN(page, size - n), (off_t) at);

                if (k <= 0)
                        break;
                n += (size_t) k;
                if (memory->string && memchr(buf + n - k, '\0', (size_t) k))
                        break;
        }
        (void) util_write_all(out, buf, n);
}

static ssize_t ask_memory(Waitobject *objects, pid_t pid, uint64_t address, void *buf, size_t size, bool string) {
        Memory memory = { pid, address, size, string };

        /* An address of half of all there are is the kernel's. */
        if (address == 0 || address > INT64_MAX)
                return -EFAULT;
        return aside_ask(objects->asides, read_memory, &memory, buf, size);
}

typedef struct PathFacts {
        bool exists;
        bool is_fifo;
        uint64_t ino;
        unsigned major, minor;
} PathFacts;

static void stat_path(int out, void *userdata) {
        const char *path = userdata;
        PathFacts facts = {};
        struct stat st;

        if (stat(path, &st) == 0)
                facts = (PathFacts){ true, S_ISFIFO(st.st_mode), st.st_ino, 0, 0 };
        (void) util_write_all(out, &facts, sizeof(facts));
}

/* The number of a path that names a descriptor of the process itself, "/proc/self/fd/5"; -1: it does not. */
static int own_fd(const char *path) {
        static const char *const prefixes[] = { "/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/" };
        uint64_t fd;

        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
                size_t n = strlen(prefixes[i]);

                if (strncmp(path, prefixes[i], n) == 0 && util_parse_u64(path + n, strlen(path + n), &fd) == 0 &&
                    fd <= INT32_MAX)
                        return (int) fd;
        }
        return -1;
}

/* Reads the path, absolute as the process sees it; @ret_look is where a child finds it. */
static bool read_path(Waitobject *objects, const Proc *proc, const WaitPlan *plan, char ret[static PATH_N],
                      char ret_look[static 2 * PATH_N]) {
        char text[PATH_N], folder[PATH_N] = "";
        ssize_t n = ask_memory(objects, proc->stat.pid, plan->address, text, sizeof(text), true);
        int fd;

        if (n <= 0 || !memchr(text, '\0', (size_t) n))
                return false;
        if (*text != '/') {
                if (plan->dir_fd == AT_FDCWD ? !read_link(proc->stat.pid, "cwd", folder, sizeof(folder))
                                             : !read_fd_link(proc->stat.pid, plan->dir_fd, folder, sizeof(folder)))
                        return false;
        }
        if (snprintf(ret, PATH_N, "%s%s%s", folder, *folder && *text && folder[1] ? "/" : "", text) >= PATH_N)
                return false;
        fd = own_fd(ret);
        if (fd >= 0) {
                (void) snprintf(ret_look, 2 * PATH_N, "/proc/%d/fd/%d", (int) proc->stat.pid, fd);
                return read_fd_link(proc->stat.pid, fd, ret, PATH_N);
        }
        (void) snprintf(ret_look, 2 * PATH_N, "/proc/%d/root%s", (int) proc->stat.pid, ret);
        return true;
}

static void resolve_path(Waitobject *objects, const Proc *proc, const WaitPlan *plan, Wait *wait) {
        char path[PATH_N], where[2 * PATH_N];
        bool known = read_path(objects, proc, plan, path, where);
        PathFacts facts = {};
        ProcfileMount mount;
        ssize_t n = 0;

        if (!known) {
                wait->kind = plan->waits_server ? WAIT_MOUNT : WAIT_UNKNOWN;
                return;
        }
        COPY(wait->path, path);
        /* Whoever asks a dead server waits with it. */
        if (!plan->waits_server)
                n = aside_ask(objects->asides, stat_path, where, &facts, sizeof(facts));
        if (n == sizeof(facts) && facts.exists && facts.is_fifo && plan->use == WAIT_USE_OPEN) {
                FdWant what = { .kind = FDWANT_FILE, .ino = facts.ino };

                wait->kind = WAIT_FIFO;
                wait->inode = facts.ino;
                wait->want_read = (plan->length & O_ACCMODE) == O_WRONLY;
                set_name(&what, path);
                want(objects, wait, &what);
                return;
        }
        wait->inode = facts.ino;
        wait->kind = plan->waits_server || n == -ETIMEDOUT ? WAIT_MOUNT : WAIT_FILE;
        if (read_mount(proc->stat.pid, path, -1, &mount)) {
                if (wait->kind == WAIT_MOUNT)
                        set_mount(objects, wait, &mount);
                else
                        COPY(wait->mount_type, mount.type);
        }
}

/* The kernel's own list says for which file @proc waits, and who took the lock. */
static void resolve_lock(Waitobject *objects, const Proc *proc, const char *link, Wait *wait) {
        FdWant what = { .kind = FDWANT_LOCK, .has_device = true };
        uint64_t id = 0;
        ProcfileLock lock;
        const char *s;
        const Proc *taker;
        pid_t took = 0;
        size_t n;

        wait->kind = WAIT_LOCK;
        wait->peer = WAIT_PEER_UNKNOWN;
        COPY(wait->path, link);
        if (!objects->locks_read) {
                objects->locks_read = true;
                if (procscan_read_all(getpid(), "../locks", PROCFILE_TABLE_MAX, &objects->locks, &objects->locks_n) < 0)
                        objects->locks_n = 0;
        }
        for (s = objects->locks, n = objects->locks_n; procfile_lock_next(&s, &n, &lock) > 0;)
                if (lock.waits && lock.pid == proc->stat.pid) {
                        id = lock.id;
                        wait->inode = what.ino = lock.ino;
                        what.major = lock.major;
                        what.minor = lock.minor;
                        break;
                }
        if (id == 0)
                return;
        for (s = objects->locks, n = objects->locks_n; procfile_lock_next(&s, &n, &lock) > 0;)
                if (!lock.waits && lock.id == id)
                        took = lock.pid;
        taker = took > 0 ? procscan_find(objects->procs, took) : NULL;
        /* A record lock belongs to the process that took it; that of flock(2) to whoever has the file open. */
        if (wait->use == WAIT_USE_LOCK_RECORD && taker) {
                waitobject_set_peer(wait, taker);
                return;
        }
        if (took > 0 && !taker) {
                wait->peer = WAIT_PEER_GONE;
                wait->peer_pid = took;
        }
        set_name(&what, link);
        want(objects, wait, &what);
}

const WaitobjectNet *waitobject_net(Waitobject *objects, pid_t pid) {
        char link[64];
        uint64_t ns;

        if (!read_link(pid, "ns/net", link, sizeof(link)) || (ns = procfile_link_inode(link, "net")) == 0)
                return NULL;
        for (size_t i = 0; i < WAITOBJECT_NETS_MAX; i++) {
                WaitobjectNet *net = &objects->nets[i];

                if (net->ns == ns)
                        return net;
                if (net->ns != 0)
                        continue;
                net->ns = ns;
                if (sockdiag_load(objects->asides, pid == getpid() ? 0 : pid, &net->diag) < 0)
                        net->diag = (Sockdiag) SOCKDIAG_NULL;
                return net;
        }
        return NULL;
}

static const Sockdiag *net_of(Waitobject *objects, pid_t pid) {
        const WaitobjectNet *net = waitobject_net(objects, pid);

        return net ? &net->diag : NULL;
}

static void want_socket(Waitobject *objects, Wait *wait, uint64_t ino) {
        want(objects, wait, &(FdWant){ .kind = FDWANT_SOCKET, .ino = ino });
}

static bool resolve_unix(Waitobject *objects, const Proc *proc, uint64_t ino, Wait *wait) {
        const Sockdiag *diag = net_of(objects, proc->stat.pid), *host = net_of(objects, getpid());
        const SockdiagSocket *socket = diag ? sockdiag_find(diag, ino) : NULL, *other = NULL;

        if (!socket)
                return false;
        wait->kind = WAIT_UNIX;
        wait->peer = WAIT_PEER_UNKNOWN;
        COPY(wait->address, socket->name);
        if (socket->state == TCP_LISTEN) {
                wait->listens = true;
                wait->peer = WAIT_PEER_NONE;
                return true;
        }
        if (socket->peer != 0) {
                other = sockdiag_find(diag, socket->peer);
                if (other && *other->name)
                        COPY(wait->address, other->name);
                wait->n_unread = other ? other->rqueue : 0;
                want_socket(objects, wait, socket->peer);
                return true;
        }
        /* Not accepted yet: it waits in the queue of a listener, which may be in another namespace. */
        other = sockdiag_listener_of(diag, ino);
        if (!other && host)
                other = sockdiag_listener_of(host, ino);
        if (other) {
                wait->not_accepted = true;
                wait->n_queued = other->rqueue;
                COPY(wait->address, other->name);
                want_socket(objects, wait, other->ino);
        }
        return true;
}

static bool find_inet(pid_t pid, const char *table, uint64_t ino, const char *local, const char *remote,
                      ProcfileInet *ret) {
        _cleanup_free_ char *text = NULL;
        ProcfileInet socket;
        const char *s;
        size_t n;

        if (procscan_read_all(pid, table, PROCFILE_TABLE_MAX, &text, &n) < 0)
                return false;
        for (s = text; procfile_inet_next(&s, &n, &socket) > 0;)
                if (ino != 0 ? socket.ino == ino
                             : strcmp(socket.local, local) == 0 && strcmp(socket.remote, remote) == 0) {
                        *ret = socket;
                        return true;
                }
        return false;
}

static bool resolve_inet(Waitobject *objects, const Proc *proc, uint64_t ino, Wait *wait) {
        static const char *const tcp[] = { "net/tcp", "net/tcp6" }, *const udp[] = { "net/udp", "net/udp6" };
        pid_t pid = proc->stat.pid;
        ProcfileInet socket, other;

        for (size_t i = 0; i < ARRAY_SIZE(tcp); i++) {
                if (!find_inet(pid, tcp[i], ino, NULL, NULL, &socket))
                        continue;
                wait->kind = WAIT_TCP;
                wait->listens = socket.state == TCP_LISTEN;
                wait->connecting = socket.state == TCP_SYN;
                COPY(wait->address, wait->listens ? socket.local : socket.remote);
                if (!wait->listens)
                        for (size_t k = 0; k < ARRAY_SIZE(tcp); k++)
                                if (find_inet(pid, tcp[k], 0, socket.remote, socket.local, &other) && other.ino != 0) {
                                        want_socket(objects, wait, other.ino);
                                        break;
                                }
                return true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(udp); i++)
                if (find_inet(pid, udp[i], ino, NULL, NULL, &socket)) {
                        wait->kind = WAIT_UNKNOWN;
                        COPY(wait->address, socket.remote);
                        wait->phrase = "waits for a UDP packet";
                        return true;
                }
        return false;
}

static bool resolve_netlink(const Proc *proc, uint64_t ino, Wait *wait) {
        _cleanup_free_ char *text = NULL;
        const char *name;
        int protocol;
        size_t n;

        if (procscan_read_all(proc->stat.pid, "net/netlink", PROCFILE_TABLE_MAX, &text, &n) < 0)
                return false;
        protocol = procfile_netlink(text, n, ino);
        if (protocol < 0)
                return false;
        name = procfile_netlink_name(protocol);
        wait->kind = WAIT_NETLINK;
        wait->peer = WAIT_PEER_KERNEL;
        if (name)
                COPY(wait->address, name);
        else
                (void) snprintf(wait->address, sizeof(wait->address), "protocol %d", protocol);
        return true;
}

static void resolve_socket(Waitobject *objects, const Proc *proc, uint64_t ino, Wait *wait) {
        wait->inode = ino;
        if (!resolve_unix(objects, proc, ino, wait) && !resolve_inet(objects, proc, ino, wait) &&
            !resolve_netlink(proc, ino, wait))
                wait->phrase = "waits on a socket of a family that is not known";
}

static void resolve_fifo(Waitobject *objects, const Proc *proc, int fd, const char *link, Wait *wait) {
        FdWant what = { .kind = FDWANT_PIPE, .ino = procfile_link_inode(link, "pipe") };
        ProcfileFdinfo info = { .mnt_id = -1 };
        ProcfileMount mount;

        wait->kind = WAIT_FIFO;
        wait->is_pipe = what.ino != 0;
        wait->want_read = wait->use == WAIT_USE_WRITE;
        if (!wait->is_pipe) {
                COPY(wait->path, link);
                what.kind = FDWANT_FILE;
                set_name(&what, link);
                if (read_fdinfo(proc->stat.pid, fd, &info)) {
                        what.ino = info.ino;
                        if (info.mnt_id >= 0 && read_mount(proc->stat.pid, "", info.mnt_id, &mount)) {
                                what.has_device = true;
                                what.major = mount.major;
                                what.minor = mount.minor;
                        }
                }
        }
        wait->inode = what.ino;
        want(objects, wait, &what);
}

static void resolve_file(Waitobject *objects, const Proc *proc, int fd, const char *link, Wait *wait) {
        ProcfileFdinfo info;
        ProcfileMount mount;

        COPY(wait->path, link);
        if (!read_fdinfo(proc->stat.pid, fd, &info))
                return;
        wait->inode = info.ino;
        if (!read_mount(proc->stat.pid, link, info.mnt_id, &mount))
                return;
        if (wait->kind == WAIT_MOUNT)
                set_mount(objects, wait, &mount);
        else
                COPY(wait->mount_type, mount.type);
}

static void resolve_pidfd(Waitobject *objects, const Proc *proc, int fd, Wait *wait) {
        ProcfileFdinfo info;
        const Proc *child;

        wait->kind = WAIT_CHILD;
        wait->peer = WAIT_PEER_UNKNOWN;
        if (!read_fdinfo(proc->stat.pid, fd, &info) || info.pid <= 0)
                return;
        child = procscan_find(objects->procs, info.pid);
        if (child)
                waitobject_set_peer(wait, child);
}

/* What the descriptor @fd is. Returns whether its kind is known. */
static bool resolve_fd(Waitobject *objects, const Proc *proc, const WaitPlan *plan, int fd, const char *wchan,
                       Wait *wait) {
        char link[PATH_N];
        uint64_t ino;

        if (!read_fd_link(proc->stat.pid, fd, link, sizeof(link)))
                return false;
        ino = procfile_link_inode(link, "socket");
        if (ino != 0) {
                resolve_socket(objects, proc, ino, wait);
                return wait->kind != WAIT_UNKNOWN || wait->phrase;
        }
        wait->kind = waitkind_of_link(plan, link, wchan);
        switch (wait->kind) {
        case WAIT_LOCK:
                resolve_lock(objects, proc, link, wait);
                return true;
        case WAIT_FIFO:
                resolve_fifo(objects, proc, fd, link, wait);
                return true;
        case WAIT_FILE:
        case WAIT_MOUNT:
                resolve_file(objects, proc, fd, link, wait);
                return true;
        case WAIT_CHILD:
                resolve_pidfd(objects, proc, fd, wait);
                return true;
        case WAIT_SLEEP:
                return true;
        default:
                COPY(wait->path, link);
                return false;
        }
}

/* Of several descriptors: how much does this one say? A listener or a pipe of its own is what a program also has. */
static int weight(const Wait *wait) {
        switch (wait->kind) {
        case WAIT_UNIX:
        case WAIT_TCP:
                return wait->listens ? 1 : 4;
        case WAIT_NETLINK:
                return 3;
        case WAIT_FIFO:
        case WAIT_CHILD:
                return 2;
        case WAIT_FILE:
                return 1;
        default:
                return 0;
        }
}

typedef struct Several {
        struct {
                int fd;
                WaitUse use;
        } fds[WAITOBJECT_FDS_MAX];
        size_t n;
} Several;

static void add(Several *several, int fd, WaitUse use) {
        if (fd >= 0 && several->n < WAITOBJECT_FDS_MAX) {
                several->fds[several->n].fd = fd;
                several->fds[several->n++].use = use;
        }
}

static void read_poll(Waitobject *objects, const Proc *proc, const WaitPlan *plan, Several *ret) {
        struct pollfd fds[WAITOBJECT_FDS_MAX];
        size_t want_n = MIN(plan->length, (uint64_t) WAITOBJECT_FDS_MAX);
        ssize_t n = ask_memory(objects, proc->stat.pid, plan->address, fds, want_n * sizeof(*fds), false);

        for (size_t i = 0; n > 0 && i < (size_t) n / sizeof(*fds); i++)
                add(ret, fds[i].fd,
                    fds[i].events & POLLIN || !(fds[i].events & POLLOUT) ? WAIT_USE_READ : WAIT_USE_WRITE);
}

static void read_select(Waitobject *objects, const Proc *proc, const WaitPlan *plan, Several *ret) {
        uint64_t addresses[] = { plan->address, plan->address2 };
        uint8_t bits[FD_SETSIZE / 8];

        for (size_t k = 0; k < ARRAY_SIZE(addresses); k++) {
                ssize_t n = ask_memory(objects, proc->stat.pid, addresses[k], bits,
                                       MIN((size_t) (plan->length + 63) / 64 * 8, sizeof(bits)), false);

                for (size_t fd = 0; n > 0 && fd < MIN((size_t) n * 8, (size_t) plan->length); fd++)
                        if (bits[fd / 8] >> (fd % 8) & 1)
                                add(ret, (int) fd, k == 0 ? WAIT_USE_READ : WAIT_USE_WRITE);
        }
}

static void read_epoll(const Proc *proc, int epoll_fd, Several *ret) {
        char name[32], text[PROCFILE_SMALL_MAX];
        const char *s = text;
        ssize_t n;
        size_t left;
        int fd;

        (void) snprintf(name, sizeof(name), "fdinfo/%d", epoll_fd);
        n = procscan_read(proc->stat.pid, name, text, sizeof(text));
        for (left = n > 0 ? (size_t) n : 0; procfile_tfd_next(&s, &left, &fd) > 0;)
                add(ret, fd, WAIT_USE_READ);
}

/* The descriptor that says most, of those that a poll has. */
static void resolve_several(Waitobject *objects, const Proc *proc, const WaitPlan *plan, const Several *several,
                            const char *wchan, Wait *wait) {
        Wait best = *wait;
        unsigned n = 0;

        for (size_t i = 0; i < several->n; i++) {
                Wait one = *wait;

                one.use = several->fds[i].use;
                if (!resolve_fd(objects, proc, plan, several->fds[i].fd, wchan, &one) || weight(&one) == 0)
                        continue;
                n++;
                if (weight(&one) > weight(&best))
                        best = one;
        }
        if (weight(&best) > 0) {
                *wait = best;
                wait->n_others = n - 1;
        } else if (plan->has_timeout)
                wait->kind = WAIT_SLEEP;
        else
                wait->phrase = "waits for an event whose cause is not known";
}

/* connect(2): a Unix socket's address is its path; TCP's is in the kernel's table. */
static void resolve_connect(Waitobject *objects, const Proc *proc, const WaitPlan *plan, Wait *wait) {
        union {
                sa_family_t family;
                struct sockaddr_un un;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } address = {};
        ssize_t n =
                ask_memory(objects, proc->stat.pid, plan->address, &address, MIN(plan->length, sizeof(address)), false);
        const SockdiagSocket *listener = NULL;
        const Sockdiag *diag, *host;
        char name[SOCKDIAG_NAME_MAX + 1] = "", link[64], host_text[INET6_ADDRSTRLEN] = "";

        if (n > (ssize_t) sizeof(sa_family_t) && address.family == AF_UNIX) {
                const char *path = address.un.sun_path;
                size_t path_n = (size_t) n - offsetof(struct sockaddr_un, sun_path);

                if (*path)
                        util_copy_bounded(name, sizeof(name), path, strnlen(path, path_n));
                else
                        (void) snprintf(name, sizeof(name), "@%.*s", (int) strnlen(path + 1, path_n - 1), path + 1);
                wait->kind = WAIT_UNIX;
                wait->peer = WAIT_PEER_UNKNOWN;
                wait->queue_full = true;
                COPY(wait->address, name);
                diag = net_of(objects, proc->stat.pid);
                host = net_of(objects, getpid());
                listener = diag ? sockdiag_listener(diag, name) : NULL;
                if (!listener && host)
                        listener = sockdiag_listener(host, name);
                if (listener) {
                        wait->n_queued = listener->rqueue;
                        want_socket(objects, wait, listener->ino);
                }
                return;
        }
        if (read_fd_link(proc->stat.pid, plan->fd, link, sizeof(link)))
                resolve_socket(objects, proc, procfile_link_inode(link, "socket"), wait);
        if (*wait->address || n < (ssize_t) sizeof(address.in))
                return;
        if (address.family == AF_INET && inet_ntop(AF_INET, &address.in.sin_addr, host_text, sizeof(host_text)))
                (void) snprintf(wait->address, sizeof(wait->address), "%s:%u", host_text, ntohs(address.in.sin_port));
}

/* The child that it waits for: the one it names, or the youngest that has not ended. */
static void resolve_child(Waitobject *objects, const Proc *proc, const WaitPlan *plan, Wait *wait) {
        const Proc *best = NULL;

        wait->peer = WAIT_PEER_UNKNOWN;
        for (size_t i = 0; i < objects->procs->n; i++) {
                const Proc *child = &objects->procs->procs[i];

                if (child->stat.ppid != proc->stat.pid || child->stat.state == 'Z')
                        continue;
                if (plan->address != 0 && (uint64_t) child->stat.pid == plan->address) {
                        best = child;
                        break;
                }
                if (!best || child->stat.start_ticks >= best->stat.start_ticks)
                        best = child;
        }
        if (best)
                waitobject_set_peer(wait, best);
}

void waitobject_resolve(Waitobject *objects, const Proc *proc, const WaitPlan *plan, const char *wchan, Wait *wait) {
        Several several = {};

        switch (plan->object) {
        case WAIT_OBJECT_NONE:
                return;
        case WAIT_OBJECT_FD:
                if (!resolve_fd(objects, proc, plan, plan->fd, wchan, wait) && plan->waits_server)
                        wait->kind = WAIT_MOUNT;
                return;
        case WAIT_OBJECT_PATH:
                resolve_path(objects, proc, plan, wait);
                return;
        case WAIT_OBJECT_CONNECT:
                resolve_connect(objects, proc, plan, wait);
                return;
        case WAIT_OBJECT_CHILD:
                resolve_child(objects, proc, plan, wait);
                return;
        case WAIT_OBJECT_POLL:
                read_poll(objects, proc, plan, &several);
                break;
        case WAIT_OBJECT_SELECT:
                read_select(objects, proc, plan, &several);
                break;
        case WAIT_OBJECT_EPOLL:
                read_epoll(proc, plan->fd, &several);
                break;
        }
        resolve_several(objects, proc, plan, &several, wchan, wait);
}
