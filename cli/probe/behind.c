#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "behind.h"
#include "bypass.h"
#include "util.h"

#define CMDLINE_MAX 4096
#define PROGRAM     "podspan-cri"

static const char *socket_path(const char *endpoint) {
        if (strncmp(endpoint, "unix:", strlen("unix:")) != 0)
                return endpoint;
        endpoint += strlen("unix:");
        return strncmp(endpoint, "//", 2) == 0 ? endpoint + 2 : endpoint;
}

static bool take_path(const char *path, char ret[BEHIND_PATH_MAX]) {
        path = socket_path(path);
        *ret = '\0';
        if (*path != '/' || strlen(path) >= BEHIND_PATH_MAX)
                return false;
        strcpy(ret, path);
        return true;
}

bool behind_read_cmdline(const char *cmdline, size_t n, char ret[BEHIND_PATH_MAX]) {
        static const char option[] = "--runtime";
        const char *end = cmdline + n, *slash;
        bool first = true, wanted = false;

        *ret = '\0';
        for (const char *arg = cmdline; arg < end;) {
                size_t length = strnlen(arg, (size_t) (end - arg));

                /* What was cut is not a whole argument. */
                if (arg + length == end)
                        return false;
                if (first) {
                        slash = strrchr(arg, '/');
                        if (strcmp(slash ? slash + 1 : arg, PROGRAM) != 0)
                                return false;
                        first = false;
                } else if (wanted)
                        return take_path(arg, ret);
                else if (strcmp(arg, option) == 0)
                        wanted = true;
                else if (strncmp(arg, option, strlen(option)) == 0 && arg[strlen(option)] == '=')
                        return take_path(arg + sizeof(option), ret);
                arg += length + 1;
        }
        return false;
}

static int dial(const char *path, struct ucred *ret_peer) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t size = sizeof(*ret_peer);
        _cleanup_close_ int fd = -EBADF;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        /* A listener that does not accept has a backlog, and a full one must not hold us up. */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (ret_peer && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &size) < 0)
                return -errno;
        return 0;
}

/* The process that made the socket; systemd, if it did, says nothing of podspan-cri. */
static bool ask_process(const struct ucred *peer, char ret[BEHIND_PATH_MAX]) {
        _cleanup_close_ int fd = -EBADF;
        char path[32], cmdline[CMDLINE_MAX];
        ssize_t n;

        *ret = '\0';
        if (peer->uid != 0 && peer->uid != geteuid())
                return false;
        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) peer->pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, cmdline, sizeof(cmdline));
        return n > 0 && behind_read_cmdline(cmdline, (size_t) n, ret);
}

static bool ask_bypass(const char *path, char ret[BEHIND_PATH_MAX]) {
        _cleanup_close_ int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *target = NULL;

        *ret = '\0';
        return root_fd >= 0 && bypass_target(root_fd, path, &target) >= 0 && take_path(target, ret);
}

/* podspan-cri@NAME serves /run/NAME/NAME.sock at STATE/run/NAME/NAME.sock. */
static bool ask_unit(const char *path, const char *state_dir, char ret[BEHIND_PATH_MAX]) {
        static const char *const names[] = { "crio", "containerd" };
        char own[BEHIND_PATH_MAX];

        *ret = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                int n = snprintf(own, sizeof(own), "%s/run/%s/%s.sock", state_dir, names[i], names[i]);

                if (n > 0 && (size_t) n < sizeof(own) && strcmp(own, path) == 0) {
                        (void) snprintf(ret, BEHIND_PATH_MAX, "/run/%s/%s.sock", names[i], names[i]);
                        return true;
                }
        }
        return false;
}

void behind_look(const char *endpoint, const char *state_dir, Behind *ret) {
        const char *path = socket_path(endpoint);
        struct ucred peer = {};

        *ret = (Behind){ .dialled = dial(path, &peer) };
        ret->interceptor = (ret->dialled == 0 && ask_process(&peer, ret->runtime)) || ask_bypass(path, ret->runtime) ||
                           ask_unit(path, state_dir, ret->runtime);
        if (*ret->runtime)
                ret->runtime_dialled = dial(ret->runtime, NULL);
}

void behind_explain(const Behind *behind, const char *endpoint, char *buf, size_t size) {
        const char *path = socket_path(endpoint);

        *buf = '\0';
        if (behind->dialled < 0)
                (void) snprintf(buf, size, "%s does not listen at %s (%s)",
                                behind->interceptor ? PROGRAM : "the runtime", path, strerror(-behind->dialled));
        else if (behind->interceptor && behind->runtime_dialled < 0)
                (void) snprintf(buf, size,
                                PROGRAM
                                " listens at %s, but the runtime behind it does not: %s (%s); start the runtime",
                                path, behind->runtime, strerror(-behind->runtime_dialled));
}
