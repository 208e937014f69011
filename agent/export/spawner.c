#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "exportwire.h"
#include "fdpass.h"
#include "spawner.h"

#define ENV_MAX     64
#define EXIT_LIMITS 126
#define CHILD_STACK (32U * 1024)

typedef struct Child {
        int program_fd;
        int fd;
        char *const *env;
} Child;

typedef struct Request {
        uint32_t serial;
} Request;

typedef struct Reply {
        uint32_t serial;
        int32_t error;
        int32_t pid;
} Reply;

/* ---- the spawner's side ---- */

/* The program does not run without its limits. */
static void limit(int resource, rlim_t n) {
        struct rlimit now;

        if (getrlimit(resource, &now) < 0)
                _exit(EXIT_LIMITS);
        /* A stricter limit of the service manager's stays. */
        now.rlim_cur = MIN(now.rlim_cur, n);
        now.rlim_max = MIN(now.rlim_max, n);
        if (setrlimit(resource, &now) < 0)
                _exit(EXIT_LIMITS);
}

_Noreturn static void run_program(int program_fd, int fd, char *const *env) {
        char *const argv[] = { (char *) SPAWNER_PROGRAM, (char *) "--serve", NULL };

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        limit(RLIMIT_DATA, SPAWNER_DATA_MAX);
        limit(RLIMIT_STACK, SPAWNER_STACK_SIZE);
        limit(RLIMIT_CORE, 0);
        if (fd == EXPORTWIRE_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, EXPORTWIRE_FD) < 0)
                _exit(EXIT_LIMITS);
        (void) execveat(program_fd, "", argv, env, AT_EMPTY_PATH);
        _exit(127);
}

static int run_child(void *userdata) {
        const Child *child = userdata;

        run_program(child->program_fd, child->fd, child->env);
}

/*
 * A child of podspand's rather than of ours: podspand waits for it, and is told of its end by its pidfd. Not clone3():
 * the service manager refuses it where namespaces are restricted (RestrictNamespaces=).
 */
static int start(int program_fd, int fd, char *const *env, int *ret_pidfd) {
        /* A copy of it is the child's: without CLONE_VM nothing is shared. */
        static _Alignas(16) uint8_t stack[CHILD_STACK];
        Child child = { .program_fd = program_fd, .fd = fd, .env = env };
        int pidfd = -EBADF, pid;

        pid = clone(run_child, stack + sizeof(stack), CLONE_PARENT | CLONE_PIDFD | SIGCHLD, &child, &pidfd);
        if (pid < 0)
                return -errno;
        *ret_pidfd = pidfd;
        return pid;
}

static int serve_one(int socket_fd, int program_fd, char *const *env) {
        _cleanup_close_ int pidfd = -EBADF;
        int fds[FDPASS_MAX];
        Request request;
        Reply reply;
        size_t n_fds;
        ssize_t n;

        n = fdpass_recv(socket_fd, &request, sizeof(request), fds, &n_fds);
        if (n == -EINTR)
                return 0;
        if (n < 0)
                return (int) n;
        if (n != sizeof(request) || n_fds != 1)
                return -EBADMSG;

        reply = (Reply){ .serial = request.serial };
        reply.pid = start(program_fd, fds[0], env, &pidfd);
        reply.error = reply.pid < 0 ? reply.pid : 0;
        (void) close(fds[0]);
        return fdpass_send(socket_fd, &reply, sizeof(reply), &pidfd, reply.error == 0 ? 1 : 0);
}

/* What the program needs of our environment: no secret of podspand's configuration is in it. */
static void choose_env(char **ret) {
        static const char *const wanted[] = { "GRPC_", "PODSPAN_", "RES_OPTIONS=", "LOCALDOMAIN=" };
        size_t n = 0;

        /* One heap: each further one of glibc's is 64 MiB of addresses and some of memory. */
        ret[n++] = (char *) "MALLOC_ARENA_MAX=1";
        for (char **p = environ; *p && n < ENV_MAX - 1; p++)
                for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                        if (strncmp(*p, wanted[i], strlen(wanted[i])) == 0) {
                                ret[n++] = *p;
                                break;
                        }
        ret[n] = NULL;
}

_Noreturn static void serve(int socket_fd, int program_fd) {
        static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };
        char *env[ENV_MAX];

        (void) prctl(PR_SET_NAME, "podspand-spawn", 0, 0, 0);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        /* The service manager signals the whole group: podspand decides about the last export. The program inherits
         * this. */
        for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
                (void) signal(ignored[i], SIG_IGN);
        choose_env(env);

        /* podspand's end, and what it lets us do, end with podspand. */
        while (serve_one(socket_fd, program_fd, env) == 0)
                ;
        _exit(0);
}

/* ---- podspand's side ---- */

static int open_beside(const char *relative) {
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
        char *slash;
        int fd;

        if (n < 0)
                return -errno;
        if ((size_t) n >= sizeof(path))
                return -ENAMETOOLONG;
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (!slash || (size_t) (slash - path) + 1 + strlen(relative) >= sizeof(path))
                return -ENOENT;
        strcpy(slash + 1, relative);
        fd = open(path, O_PATH | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int open_program(void) {
        _cleanup_close_ int fd = -EBADF;
        int high;

        fd = open_beside("export/" SPAWNER_PROGRAM);
        if (fd < 0)
                fd = open_beside("../libexec/podspan/" SPAWNER_PROGRAM); /* an installation that was moved */
        if (fd < 0)
                fd = open(PODSPAN_LIBEXECDIR "/" SPAWNER_PROGRAM, O_PATH | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        /* Out of the way of EXPORTWIRE_FD. */
        high = fcntl(fd, F_DUPFD_CLOEXEC, EXPORTWIRE_FD + 1);
        return high < 0 ? -errno : high;
}

int spawner_start(int *ret_fd) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF, program = -EBADF;
        int fds[2];
        pid_t pid;

        /* Held open: a later package's program would not understand this podspand. */
        program = open_program();
        if (program < 0)
                return program;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
                return -errno;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) close(ours);
                serve(theirs, program);
        }

        *ret_fd = TAKE_FD(ours);
        return 0;
}

int spawner_request(int spawner_fd, uint32_t serial, int fd) {
        const Request request = { .serial = serial };

        return fdpass_send(spawner_fd, &request, sizeof(request), &fd, 1);
}

int spawner_take(int spawner_fd, Spawned *ret) {
        int fds[FDPASS_MAX];
        Reply reply;
        size_t n_fds;
        ssize_t n;

        n = fdpass_recv(spawner_fd, &reply, sizeof(reply), fds, &n_fds);
        if (n == -EAGAIN || n == -EINTR)
                return 0;
        if (n < 0)
                return (int) n;
        if (n != sizeof(reply) || n_fds != (reply.error == 0 ? 1U : 0U)) {
                for (size_t i = 0; i < n_fds; i++)
                        (void) close(fds[i]);
                return -EBADMSG;
        }

        *ret = (Spawned){
                .serial = reply.serial, .error = reply.error, .pid = reply.pid, .pidfd = n_fds > 0 ? fds[0] : -EBADF
        };
        return 1;
}
