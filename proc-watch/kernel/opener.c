#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bundle.h"
#include "engineconf.h"
#include "opener.h"
#include "privilege.h"
#include "util.h"

#define WRITABLE_BY_OTHERS 0022
#define DROP_INS_MAX       64

typedef enum RequestType {
        REQUEST_ENGINE = 1,
        REQUEST_OPEN,
} RequestType;

typedef struct Request {
        uint32_t type;
        char name[COMMAND_NAME_MAX + 1];
        CommandFolders folders;
        char path[COMMAND_BUNDLE_MAX + 1];
} Request;

typedef struct Reply {
        int32_t result; /* OPEN: with a descriptor if it is 0 */
        OpenerFolders folders;
} Reply;

/* State of the process that opens. */
typedef struct Roots {
        char *paths[OPENER_ROOTS_MAX];
        size_t n;
        OpenerFolders *told;
} Roots;

int opener_open_below(int root_fd, const char *name, uint32_t uid) {
        const struct open_how how = {
                .flags = O_PATH | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        char path[COMMAND_BUNDLE_MAX + 16], self[32];
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int opened;

        (void) snprintf(path, sizeof(path), "%s/config.json", name);
        fd = (int) syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > BUNDLE_SIZE_MAX)
                return -EINVAL;
        if (uid != 0 && st.st_uid != uid)
                return -EACCES;

        /* The very file that was looked at: not even opening another kind would be without effects. */
        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        opened = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        return opened < 0 ? -errno : opened;
}

static bool roots_own(const struct stat *st) {
        return st->st_uid == 0 && !(st->st_mode & WRITABLE_BY_OTHERS);
}

static int add_root(void *userdata, const char *path) {
        Roots *roots = userdata;
        char *copy;

        if (!engineconf_path_valid(path))
                return 0;
        for (size_t i = 0; i < roots->n; i++)
                if (strcmp(roots->paths[i], path) == 0)
                        return 0;
        if (roots->n == OPENER_ROOTS_MAX)
                return 0;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        roots->paths[roots->n++] = copy;
        roots->told->n_new++;
        return 0;
}

static int read_config(Roots *roots, EngineconfKind kind, int dir_fd, const char *name) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        size_t len;
        int r;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (!roots_own(&st))
                return -EPERM;
        r = util_read_fd(fd, ENGINECONF_SIZE_MAX, &text, &len);
        return r < 0 ? r : engineconf_read(kind, text, len, add_root, roots);
}

/* What an engine reads whether it is there or not. */
static void read_one(Roots *roots, EngineconfKind kind, int dir_fd, const char *folder, const char *name) {
        OpenerFolders *told = roots->told;
        int r = read_config(roots, kind, dir_fd, name);

        if (r >= 0 || r == -ENOENT)
                return;
        told->n_unreadable++;
        told->error = r;
        (void) snprintf(told->unreadable, sizeof(told->unreadable), "%s%s%s", folder, *folder ? "/" : "", name);
}

static void read_folder(Roots *roots, EngineconfKind kind, const char *folder) {
        const struct dirent *entry;
        unsigned n = 0;
        DIR *dir = opendir(folder);

        while (dir && n < DROP_INS_MAX && (entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                n++;
                read_one(roots, kind, dirfd(dir), folder, entry->d_name);
        }
        if (dir)
                (void) closedir(dir);
}

static const char *or_default(const char *s, const char *otherwise) {
        return *s ? s : otherwise;
}

/* All that is configured, whatever overrides what: a folder more is none of another's. */
static void add_engine(Roots *roots, const Request *request) {
        const CommandFolders *folders = &request->folders;

        (void) add_root(roots, folders->root);
        (void) add_root(roots, folders->run_root);
        if (strcmp(request->name, "containerd") == 0) {
                read_one(roots, ENGINECONF_CONTAINERD, AT_FDCWD, "",
                         or_default(folders->config, "/etc/containerd/config.toml"));
                return;
        }
        if (strcmp(request->name, "crio") == 0) {
                read_one(roots, ENGINECONF_CRIO, AT_FDCWD, "", or_default(folders->config, "/etc/crio/crio.conf"));
                read_folder(roots, ENGINECONF_CRIO, or_default(folders->config_dir, "/etc/crio/crio.conf.d"));
        } else if (strcmp(request->name, "podman") != 0) {
                return;
        }
        read_one(roots, ENGINECONF_STORAGE, AT_FDCWD, "", "/usr/share/containers/storage.conf");
        read_one(roots, ENGINECONF_STORAGE, AT_FDCWD, "", "/etc/containers/storage.conf");
}

/* What is left of @path below @root; NULL: it is not below it. */
static const char *below(const char *path, const char *root) {
        size_t len = strlen(root);

        return strncmp(path, root, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static int open_bundle(const Roots *roots, const char *path) {
        int result = -EACCES;

        for (size_t i = 0; i < roots->n; i++) {
                char self[32], real[ENGINECONF_PATH_MAX + 1];
                _cleanup_close_ int fd = -EBADF;
                const char *rest;
                struct stat st;
                ssize_t n;

                fd = open(roots->paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                /* A shim's bundle is where it runs, so without the symbolic links of a configuration. */
                (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
                n = readlink(self, real, sizeof(real) - 1);
                real[MAX(n, 0)] = '\0';
                rest = below(path, roots->paths[i]);
                if (!rest && n > 0)
                        rest = below(path, real);
                if (!rest)
                        continue;
                if (fstat(fd, &st) < 0 || !roots_own(&st))
                        return -EPERM;
                result = opener_open_below(fd, rest, 0);
                if (result >= 0)
                        return result;
        }
        return result;
}

static int send_reply(int fd, const Reply *reply, int file_fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) reply, sizeof(*reply) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (file_fd >= 0) {
                struct cmsghdr *header;

                message.msg_control = &control;
                message.msg_controllen = sizeof(control.space);
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(header), &file_fd, sizeof(int));
        }
        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int answer(int fd, Roots *roots, const Request *request) {
        _cleanup_close_ int file_fd = -EBADF;
        Reply reply = {};

        roots->told = &reply.folders;
        if (request->type == REQUEST_ENGINE) {
                add_engine(roots, request);
        } else {
                file_fd = open_bundle(roots, request->path);
                reply.result = MIN(file_fd, 0);
        }
        return send_reply(fd, &reply, file_fd);
}

static void terminate_strings(Request *request) {
        request->name[sizeof(request->name) - 1] = '\0';
        request->path[sizeof(request->path) - 1] = '\0';
        request->folders.config[sizeof(request->folders.config) - 1] = '\0';
        request->folders.config_dir[sizeof(request->folders.config_dir) - 1] = '\0';
        request->folders.root[sizeof(request->folders.root) - 1] = '\0';
        request->folders.run_root[sizeof(request->folders.run_root) - 1] = '\0';
}

/* Until podspan-watch is gone. */
static int serve(int fd) {
        static Request request;
        Roots roots = {};

        for (;;) {
                ssize_t n = recv(fd, &request, sizeof(request), 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t) sizeof(request))
                        return n < 0 ? -errno : 0;
                terminate_strings(&request);
                if (answer(fd, &roots, &request) < 0)
                        return -EPIPE;
        }
}

static void run(int fd, bool kill) {
        /* podspan-watch tells what happened until its own end: this process is there for as long. */
        (void) signal(SIGTERM, SIG_IGN);
        (void) signal(SIGINT, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
        (void) prctl(PR_SET_NAME, "podspan-opener");
        if (privilege_drop_opener(kill) >= 0)
                (void) serve(fd);
        _exit(0);
}

int opener_init(Opener *opener, bool kill) {
        const struct timeval wait = { .tv_sec = OPENER_WAIT_S };
        int fds[2];
        pid_t pid;

        assert(opener);

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        pid = fork();
        if (pid < 0) {
                int r = -errno;

                close_fd(fds[0]);
                close_fd(fds[1]);
                return r;
        }
        if (pid == 0) {
                close_fd(fds[0]);
                run(fds[1], kill);
        }
        close_fd(fds[1]);
        opener->fd = fds[0];
        opener->pid_fd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (opener->pid_fd < 0)
                return -errno;
        if (setsockopt(opener->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
            setsockopt(opener->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
                return -errno;
        return 0;
}

void opener_deinit(Opener *opener) {
        struct pollfd end = { .fd = opener->pid_fd, .events = POLLIN };
        siginfo_t info;

        opener->fd = close_fd(opener->fd);
        if (opener->pid_fd >= 0 && poll(&end, 1, OPENER_WAIT_S * 1000) > 0)
                (void) waitid(P_PIDFD, (id_t) opener->pid_fd, &info, WEXITED | WNOHANG);
        opener->pid_fd = close_fd(opener->pid_fd);
}

/* An answer that does not come could come to another question: no more are asked. */
static int give_up(Opener *opener) {
        opener->fd = close_fd(opener->fd);
        return -EPIPE;
}

static int ask(Opener *opener, const Request *request, Reply *ret, int *ret_fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { ret, sizeof(*ret) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control.space),
        };
        struct cmsghdr *header;
        ssize_t n;

        *ret_fd = -EBADF;
        if (opener->fd < 0)
                return -EPIPE;
        if (send(opener->fd, request, sizeof(*request), MSG_NOSIGNAL) < 0)
                return give_up(opener);
        do
                n = recvmsg(opener->fd, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof(*ret))
                return give_up(opener);
        header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
            header->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
        return 0;
}

int opener_add_engine(Opener *opener, const Command *command, OpenerFolders *ret) {
        Request request = { .type = REQUEST_ENGINE, .folders = command->folders };
        Reply reply;
        int fd, r;

        assert(opener);
        assert(ret);

        (void) snprintf(request.name, sizeof(request.name), "%s", command->name);
        r = ask(opener, &request, &reply, &fd);
        close_fd(fd);
        if (r < 0)
                return r;
        reply.folders.unreadable[sizeof(reply.folders.unreadable) - 1] = '\0';
        *ret = reply.folders;
        return 0;
}

int opener_open(Opener *opener, const char *path) {
        Request request = { .type = REQUEST_OPEN };
        Reply reply;
        int fd, r;

        assert(opener);
        assert(path);

        if (strlen(path) >= sizeof(request.path))
                return -ENAMETOOLONG;
        (void) snprintf(request.path, sizeof(request.path), "%s", path);
        r = ask(opener, &request, &reply, &fd);
        if (r < 0)
                return r;
        if (reply.result < 0 || fd < 0) {
                close_fd(fd);
                return reply.result < 0 ? reply.result : -EPIPE;
        }
        return fd;
}
