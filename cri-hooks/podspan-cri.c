/*
 * podspan-cri: the CRI interceptor
 *
 * A verbatim tap between kubelet and the container runtime; docs/cri.md says what it does.
 */

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "confine.h"
#include "notify.h"
#include "server.h"
#include "sysfilter.h"

static const char *arg_listen;
static const char *arg_runtime;
static const char *arg_config;
static const char *arg_state_dir;

typedef struct Program {
        Config config;
        Calls calls;
        Server server;
        int state_fd;
} Program;

static Program program = {
        .config = CONFIG_NULL,
        .calls = CALLS_NULL,
        .server = SERVER_NULL,
        .state_fd = -EBADF,
};

static void help(void) {
        (void) printf("Usage: podspan-cri --listen PATH --runtime PATH [OPTION…]\n"
                      "Forwards CRI calls to the container runtime, byte for byte, and traces them.\n\n"
                      "  --listen PATH     unix socket to listen on, kubelet's containerRuntimeEndpoint;\n"
                      "                    in front of CRI-O it must end in run/crio/crio.sock\n"
                      "  --runtime PATH    unix socket of the runtime\n"
                      "  --config FILE     read FILE instead of " CONFIG_DIR "\n"
                      "  --state-dir DIR   spool, context files and counters (default " CONFIG_STATE_DIR ")\n"
                      "  --help            show this text\n"
                      "  --version         show the version\n\n"
                      "A PATH may begin with unix://. With a socket passed by LISTEN_FDS, --listen is not needed.\n"
                      "Exit status: 0 ended by SIGTERM or SIGINT, 1 failure, 2 wrong usage.\n");
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
                ARG_HELP,
                ARG_VERSION,
        };
        static const struct option options[] = {
                { "listen", required_argument, NULL, ARG_LISTEN },
                { "runtime", required_argument, NULL, ARG_RUNTIME },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state-dir", required_argument, NULL, ARG_STATE_DIR },
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
        if (!arg_runtime || !*arg_runtime || (arg_listen && !*arg_listen)) {
                (void) fprintf(stderr, "podspan-cri: --listen and --runtime are required, see --help\n");
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

static int setup(Program *p) {
        _cleanup_free_ char *message = NULL;
        const char *state_dir = config_state_dir(arg_state_dir);
        int r, listen_fd;

        /* One thread, long idle, seldom large buffers: give memory back. */
        (void) mallopt(M_TRIM_THRESHOLD, 64 * 1024);

        r = config_load(arg_config, &p->config, &message);
        if (r < 0)
                return log_error_errno(r, "%s", message ? message : "Out of memory");
        log_set_level(p->config.log_level);

        listen_fd = notify_listen_fd();
        if (listen_fd == -ENOENT && !arg_listen) {
                log_error("No socket was passed, so --listen is needed");
                return -EINVAL;
        }
        if (listen_fd < 0 && listen_fd != -ENOENT)
                return log_error_errno(listen_fd, "LISTEN_FDS is not one listening unix stream socket");

        if (p->config.enable_tracing) {
                p->state_fd = open_state(state_dir);
                if (p->state_fd < 0)
                        (void) log_warning_errno(p->state_fd, "Cannot open %s, forwarding without traces: %m",
                                                 state_dir);
        }

        r = calls_init(&p->calls, &p->config, arg_runtime, p->state_fd, wake);
        if (r < 0)
                return log_error_errno(r, "Cannot set up: %m");
        r = server_init(&p->server, &p->calls, p->config.enable_tracing, arg_listen, arg_runtime, listen_fd);
        if (r < 0)
                return log_error_errno(r, "Cannot listen on %s: %m", arg_listen ? arg_listen : "the passed socket");

        r = confine(p->state_fd, sysfilter_kill_wanted());
        /* In the path of every CRI call: a kernel without filters is no reason not to be there. */
        if (r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS)
                (void) log_warning_errno(r, "No filter of system calls, ignoring: %m");
        else if (r < 0)
                return log_error_errno(r, "Cannot give up privileges: %m");
        /* What it took to get here is not needed any more. */
        (void) malloc_trim(0);
        return 0;
}

static int run(Program *p) {
        int r;

        log_info("Forwarding %s to %s%s", arg_listen ? arg_listen : "the passed socket", arg_runtime,
                 p->config.enable_tracing ? "" : ", tracing is disabled");
        notify_send("READY=1");
        r = server_run(&p->server);
        notify_send("STOPPING=1");
        return r < 0 ? log_error_errno(r, "Ended: %m") : 0;
}

static void teardown(Program *p) {
        server_deinit(&p->server);
        calls_deinit(&p->calls);
        config_deinit(&p->config);
        p->state_fd = close_fd(p->state_fd);
}

int main(int argc, char **argv) {
        int r;

        util_fill_standard_fds();
        log_setup("podspan-cri", LOG_LEVEL_INFO);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : 0;

        r = setup(&program);
        if (r >= 0)
                r = run(&program);
        teardown(&program);
        return r < 0 ? 1 : 0;
}
