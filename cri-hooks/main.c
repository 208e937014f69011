/*
 * podspan-cri: the CRI interceptor
 *
 * A verbatim tap between kubelet and the container runtime; docs/cri.md says what it does.
 */

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "confine.h"
#include "dirowner.h"
#include "filelimit.h"
#include "notify.h"
#include "reload.h"
#include "server.h"
#include "sysfilter.h"

static const char *arg_listen;
static const char *arg_runtime;
static const char *arg_config;
static const char *arg_state_dir;
static bool arg_upgrade;

typedef struct Program {
        Config config;
        Calls calls;
        Server server;
        Takeover takeover;
        char listen_path[sizeof(((struct sockaddr_un *) NULL)->sun_path)]; /* "": not known */
        int listen_fd;                                                     /* passed to us */
        int state_fd;
        int ready_fd; /* --upgrade: who started us waits here */
} Program;

static Program program = {
        .config = CONFIG_NULL,
        .calls = CALLS_NULL,
        .server = SERVER_NULL,
        .takeover = TAKEOVER_NULL,
        .listen_fd = -EBADF,
        .state_fd = -EBADF,
        .ready_fd = -EBADF,
};

static void help(void) {
        (void) printf(
                "Usage: podspan-cri --listen PATH --runtime PATH [OPTION…]\n"
                "Forwards CRI calls to the container runtime, byte for byte, and traces them.\n\n"
                "  --listen PATH     unix socket to listen on, kubelet's containerRuntimeEndpoint;\n"
                "                    in front of CRI-O it must end in run/crio/crio.sock\n"
                "  --runtime PATH    unix socket of the runtime\n"
                "  --config FILE     read FILE instead of " CONFIG_DIR "\n"
                "  --state-dir DIR   spool, context files and counters (default " CONFIG_STATE_DIR ")\n"
                "  --upgrade         take over from the podspan-cri that listens there, in the background; what\n"
                "                    is not given is as the other one was started\n"
                "  --help            show this text\n"
                "  --version         show the version\n\n"
                "A PATH may begin with unix://. With a socket passed by LISTEN_FDS, --listen is not needed.\n"
                "If a podspan-cri listens at PATH already, its socket and connections are taken over and it ends.\n"
                "SIGHUP: read the configuration again.\n"
                "Exit status: 0 ended by SIGTERM or SIGINT, or all was taken over; 1 failure; 2 wrong usage.\n");
}

static const char *strip_scheme(const char *path) {
        return strncmp(path, "unix://", 7) == 0 ? path + 7 : path;
}

/* 1: go on; 0 or -EINVAL: end. */
static int parse_argv(int argc, char **argv) {
        enum {
                ARG_LISTEN = 0x100,
                ARG_RUNTIME,
                ARG_CONFIG,
                ARG_STATE_DIR,
                ARG_UPGRADE,
                ARG_HELP,
                ARG_VERSION,
        };
        static const struct option options[] = {
                { "listen", required_argument, NULL, ARG_LISTEN },
                { "runtime", required_argument, NULL, ARG_RUNTIME },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state-dir", required_argument, NULL, ARG_STATE_DIR },
                { "upgrade", no_argument, NULL, ARG_UPGRADE },
                { "help", no_argument, NULL, ARG_HELP },
                { "version", no_argument, NULL, ARG_VERSION },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case ARG_LISTEN:
                        arg_listen = strip_scheme(optarg);
                        break;
                case ARG_RUNTIME:
                        arg_runtime = strip_scheme(optarg);
                        break;
                case ARG_CONFIG:
                        arg_config = optarg;
                        break;
                case ARG_STATE_DIR:
                        arg_state_dir = optarg;
                        break;
                case ARG_UPGRADE:
                        arg_upgrade = true;
                        break;
                case ARG_HELP:
                        help();
                        return 0;
                case ARG_VERSION:
                        (void) printf("podspan-cri %s\n", PODSPAN_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                (void) fprintf(stderr, "podspan-cri: unexpected argument '%s'\n", argv[optind]);
                return -EINVAL;
        }
        if (arg_upgrade ? !arg_listen : !arg_runtime) {
                (void) fprintf(stderr, "podspan-cri: %s required, see --help\n",
                               arg_upgrade ? "--upgrade: --listen is" : "--listen and --runtime are");
                return -EINVAL;
        }
        if ((arg_listen && !*arg_listen) || (arg_runtime && !*arg_runtime)) {
                (void) fprintf(stderr, "podspan-cri: an empty PATH\n");
                return -EINVAL;
        }
        return 1;
}

static int open_state(const char *path) {
        int fd;

        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static void wake(Calls *calls, CallsWork work) {
        server_wake(&container_of(calls, Program, calls)->server, work);
}

/* Where the socket is that kubelet dials: as we were told, or where the one that was passed to us is bound. */
static void find_listen_path(Program *p) {
        struct sockaddr_un address = {};
        socklen_t size = sizeof(address) - 1;

        if (arg_listen)
                util_copy_bounded(p->listen_path, sizeof(p->listen_path), arg_listen, strlen(arg_listen));
        else if (getsockname(p->listen_fd, (struct sockaddr *) &address, &size) == 0 && address.sun_path[0] == '/')
                memcpy(p->listen_path, address.sun_path, strlen(address.sun_path) + 1);
}

/* Is there a podspan-cri already? Then what it was started with is ours, where we were told nothing else. */
static int greet(Program *p) {
        HandoverMsg *info = &p->takeover.info;
        int r;

        r = p->listen_path[0] ? takeover_greet(&p->takeover, p->listen_path) : -ENOENT;
        if (r == -ENOENT && !arg_upgrade)
                return 0;
        if (r < 0)
                return log_error_errno(r, "Cannot take over from the podspan-cri at %s: %m", p->listen_path);

        if (arg_upgrade) {
                arg_runtime = arg_runtime ? arg_runtime : info->runtime;
                arg_config = arg_config ? arg_config : info->config;
                arg_state_dir = arg_state_dir ? arg_state_dir : info->state_dir;
        }
        if (!arg_runtime) {
                log_error("The podspan-cri at %s does not say which runtime it serves", p->listen_path);
                return -EINVAL;
        }
        /* The service manager knows the other one, and will hear from it that it is us now. */
        if (info->notify && !getenv("NOTIFY_SOCKET"))
                (void) setenv("NOTIFY_SOCKET", info->notify, 1);
        return 0;
}

static int apply(void *userdata, char **reterr_message _unused_) {
        Program *p = userdata;

        calls_reload(&p->calls);
        conn_set_inject(&p->server.owner);
        return 0;
}

static void report_reload(void *userdata _unused_, int result, const char *message) {
        if (result < 0) {
                (void) log_error_errno(result, "The configuration stays as it was: %s", message);
                return;
        }
        if (result == RELOAD_KEEPS_TRACING)
                log_notice("enable_tracing changes with the next start");
        log_info("The configuration was read again");
}

static void reload(Server *server) {
        Program *p = container_of(server, Program, server);

        reload_run(&(Reload){
                .file = arg_config,
                .config = &p->config,
                .keeps_tracing = true,
                .apply = apply,
                .report = report_reload,
                .userdata = p,
        });
}

/* Kubelet is in more need of the socket than of this: it is said, and counted. */
static void check_parents(Program *p) {
        char bad[PATH_MAX], text[DIROWNER_TEXT_MAX];

        if (p->listen_path[0] != '/' || dirowner_check_parents(p->listen_path, bad, sizeof(bad)) != -EPERM)
                return;
        counters_add(p->calls.counters, COUNTERS_CRI, COUNTERS_UNTRUSTED, 1);
        dirowner_text(AT_FDCWD, bad, text);
        log_error("Others may take the place of the socket %s: %s", p->listen_path, text);
}

static int serve(Program *p) {
        const char *path = p->listen_path[0] ? p->listen_path : NULL;
        const HandoverMsg *info = &p->takeover.info;
        Server *server = &p->server;
        int r;

        server->reload = reload;
        server->watchdog_usec = notify_watchdog_usec();
        if (server->watchdog_usec == 0)
                server->watchdog_usec = info->watchdog_usec;
        server->handover.info = (HandoverMsg){
                .runtime = (char *) arg_runtime,
                .config = (char *) arg_config,
                .state_dir = (char *) config_state_dir(arg_state_dir),
                .notify = getenv("NOTIFY_SOCKET"),
        };

        if (p->takeover.fd < 0) {
                r = server_listen(server, path, TAKE_FD(p->listen_fd));
                if (r < 0)
                        return log_error_errno(r, "Cannot listen on %s: %m", path ? path : "the passed socket");
                return 0;
        }
        r = server_take_over(server, &p->takeover, path, TAKE_FD(p->listen_fd));
        if (r < 0)
                return log_error_errno(r, "Cannot take over, the other podspan-cri goes on: %m");
        log_info("Taken over with %zu connections", server->owner.n_conns);
        p->takeover.fd = close_fd(p->takeover.fd);
        p->takeover.listen_fd = close_fd(p->takeover.listen_fd);
        return 0;
}

static int setup(Program *p) {
        _cleanup_free_ char *message = NULL;
        int r;

        /* One thread, long idle, seldom large buffers: give memory back. */
        (void) mallopt(M_TRIM_THRESHOLD, 64 * 1024);

        p->listen_fd = notify_listen_fd();
        if (p->listen_fd == -ENOENT && !arg_listen) {
                log_error("No socket was passed, so --listen is needed");
                return -EINVAL;
        }
        if (p->listen_fd < 0 && p->listen_fd != -ENOENT)
                return log_error_errno(p->listen_fd, "LISTEN_FDS is not one listening unix stream socket");
        find_listen_path(p);
        r = greet(p);
        if (r < 0)
                return r;

        r = config_load(arg_config, &p->config, &message);
        if (r < 0)
                return log_error_errno(r, "%s", message ? message : "Out of memory");
        log_set_level(p->config.log_level);

        if (p->config.enable_tracing) {
                const char *state_dir = config_state_dir(arg_state_dir);

                p->state_fd = open_state(state_dir);
                if (p->state_fd < 0)
                        (void) log_warning_errno(p->state_fd, "Cannot open %s, forwarding without traces: %m",
                                                 state_dir);
        }

        r = calls_init(&p->calls, &p->config, arg_runtime, p->state_fd, wake);
        if (r == 0)
                r = server_init(&p->server, &p->calls, p->config.enable_tracing, arg_runtime);
        if (r < 0)
                return log_error_errno(r, "Cannot set up: %m");
        check_parents(p);

        r = confine(p->state_fd, sysfilter_kill_wanted());
        /* In the path of every CRI call: a kernel without filters is no reason not to be there. */
        if (r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS)
                (void) log_warning_errno(r, "No filter of system calls, ignoring: %m");
        else if (r < 0)
                return log_error_errno(r, "Cannot give up privileges: %m");
        r = serve(p);
        /* What it took to get here is not needed any more. */
        (void) malloc_trim(0);
        return r;
}

static int run(Program *p) {
        int r;

        log_info("Forwarding %s to %s%s", p->listen_path[0] ? p->listen_path : "the passed socket", arg_runtime,
                 p->config.enable_tracing ? "" : ", tracing is disabled");
        notify_send("READY=1\n" NOTIFY_ALIVE);
        if (p->ready_fd >= 0) {
                (void) util_write_all(p->ready_fd, "", 1);
                p->ready_fd = close_fd(p->ready_fd);
        }

        r = server_run(&p->server);
        if (p->server.gone)
                /* It is the main process by now; what we have said of it must be read while we are. */
                notify_barrier(1000);
        else
                notify_send("STOPPING=1");
        return r < 0 ? log_error_errno(r, "Ended: %m") : 0;
}

/*
 * --upgrade, as ExecReload= wants it: goes on in the background, while this process waits until the new one serves.
 * Returns 1 in the new process; else 0 or a negative errno: end.
 */
static int detach(Program *p) {
        _cleanup_close_ int read_fd = -EBADF;
        int ends[2], status;
        pid_t pid;
        char c;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        read_fd = ends[0];
        p->ready_fd = ends[1];
        pid = fork();
        if (pid < 0)
                return log_error_errno(-errno, "Cannot start a process: %m");
        if (pid == 0) {
                (void) setsid();
                return 1;
        }
        p->ready_fd = close_fd(p->ready_fd);
        if (read(read_fd, &c, 1) == 1)
                return 0;
        (void) waitpid(pid, &status, 0);
        return -ECHILD;
}

static void teardown(Program *p) {
        server_deinit(&p->server);
        calls_deinit(&p->calls);
        takeover_deinit(&p->takeover);
        config_deinit(&p->config);
        p->listen_fd = close_fd(p->listen_fd);
        p->state_fd = close_fd(p->state_fd);
}

int main(int argc, char **argv) {
        int r;

        filelimit_ignore();
        util_fill_standard_fds();
        log_setup("podspan-cri", LOG_LEVEL_INFO);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : 0;
        if (arg_upgrade) {
                r = detach(&program);
                if (r <= 0)
                        return r < 0 ? 1 : 0;
        }

        r = setup(&program);
        if (r >= 0)
                r = run(&program);
        teardown(&program);
        return r < 0 ? 1 : 0;
}
