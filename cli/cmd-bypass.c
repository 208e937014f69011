#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include "bypass.h"
#include "cli.h"
#include "flagedit.h"
#include "kube.h"
#include "netunix.h"
#include "nodefile.h"

#define END_WAIT_MS 500

static const char help[] =
        "Usage: podspan bypass [OPTION]... on|off|status\n"
        "\n"
        "Takes podspan-cri out of kubelet's path and back, by exchanging two names: kubelet keeps its endpoint. Needs "
        "no\n"
        "daemon of podspan's and no room on any disk. A boot, or a restart of podspan-cri's socket unit, ends a "
        "bypass;\n"
        "`podspan uninstall kubelet` is for good.\n"
        "\n"
        "  on                new connections go to the runtime; open ones last until they end\n"
        "  on --now          also end open ones (by ending podspan-cri): kubelet dials again within seconds\n"
        "  off               new connections go through podspan-cri again\n"
        "  status            which of the two it is\n"
        "\n"
        "Options:\n"
        "  --now             do not wait for open connections to end; calls in flight fail as UNAVAILABLE\n"
        "  --socket PATH     podspan-cri's socket (else kubelet's endpoint, or what is in the state directory)\n"
        "  --runtime PATH    the runtime's socket, where none was prepared (else /run/NAME/NAME.sock)\n"
        "  --force           off although podspan-cri does not listen; on although the runtime does not\n"
        "  --root DIR        a node's tree below DIR instead of this node\n"
        "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 done, or as wanted already; 1 failure, nothing was changed; 2 usage; 3 no socket of "
        "podspan-cri's.\n";

enum {
        ARG_ROOT = CLI_ARG_OWN,
        ARG_NOW,
        ARG_SOCKET,
        ARG_RUNTIME,
        ARG_FORCE,
};

typedef enum Want {
        WANT_STATUS,
        WANT_ON,
        WANT_OFF,
} Want;

typedef struct Bypass {
        Cli *cli;
        Want want;
        bool now;
        bool force;
        const char *root;
        const char *socket_arg;
        const char *runtime_arg;
        int root_fd;
        char *socket;
        char *target;
        bool dialled; /* kubelet's endpoint is this socket */
        bool changed;
        unsigned ended; /* podspan-cri processes */
        NetunixSocket open;
} Bypass;

static void bypass_deinit(Bypass *bypass) {
        close_fd(bypass->root_fd);
        free(bypass->socket);
        free(bypass->target);
}

static int parse_argv(Bypass *bypass, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS,
                                                 { "root", required_argument, NULL, ARG_ROOT },
                                                 { "now", no_argument, NULL, ARG_NOW },
                                                 { "socket", required_argument, NULL, ARG_SOCKET },
                                                 { "runtime", required_argument, NULL, ARG_RUNTIME },
                                                 { "force", no_argument, NULL, ARG_FORCE },
                                                 {} };
        static const char *const wants[] = { [WANT_STATUS] = "status", [WANT_ON] = "on", [WANT_OFF] = "off" };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(bypass->cli, c, help);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                switch (c) {
                case ARG_ROOT:
                        bypass->root = optarg;
                        break;
                case ARG_NOW:
                        bypass->now = true;
                        break;
                case ARG_SOCKET:
                        bypass->socket_arg = optarg;
                        break;
                case ARG_RUNTIME:
                        bypass->runtime_arg = optarg;
                        break;
                case ARG_FORCE:
                        bypass->force = true;
                        break;
                }
        }
        for (size_t i = 0; argc - optind == 1 && i < ARRAY_SIZE(wants); i++)
                if (strcmp(argv[optind], wants[i]) == 0) {
                        bypass->want = (Want) i;
                        if (bypass->now && strcmp(bypass->root, "/") != 0) {
                                (void) cli_usage("--now ends processes of this node: not with --root");
                                return -EINVAL;
                        }
                        if (bypass->now && bypass->want != WANT_ON) {
                                (void) cli_usage("--now goes with on only");
                                return -EINVAL;
                        }
                        return 0;
                }
        (void) cli_usage("bypass takes one of on, off, status");
        return -EINVAL;
}

static bool is_there(const Bypass *bypass, const char *path) {
        _cleanup_free_ char *target = NULL;
        BypassState state;

        /* What was prepared counts: podspan-cri and its socket may be gone. */
        return (bypass_state(bypass->root_fd, path, &state) >= 0 && state != BYPASS_ABSENT) ||
               bypass_target(bypass->root_fd, path, &target) >= 0;
}

/* Kubelet's endpoint if it is ours, else what is there. */
static int find_socket(Bypass *bypass) {
        static const char *const names[] = { "crio", "containerd" };
        _cleanup_(kube_deinit) Kube kube = KUBE_NULL;
        _cleanup_free_ char *path = NULL;
        size_t state_n = strlen(bypass->cli->state_dir);

        if (kube_find(bypass->root_fd, &kube) >= 0) {
                path = kube_path(kube.running_endpoint ? kube.running_endpoint : kube_endpoint(&kube, false, NULL));
                if (!path)
                        return -ENOMEM;
                bypass->dialled = bypass->socket_arg
                                          ? strcmp(path, bypass->socket_arg) == 0
                                          : strncmp(path, bypass->cli->state_dir, state_n) == 0 && path[state_n] == '/';
        }
        if (bypass->socket_arg || bypass->dialled) {
                bypass->socket = strdup(bypass->socket_arg ? bypass->socket_arg : path);
                return bypass->socket ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_free_ char *candidate = NULL;

                if (asprintf(&candidate, "%s/run/%s/%s.sock", bypass->cli->state_dir, names[i], names[i]) < 0) {
                        candidate = NULL;
                        return -ENOMEM;
                }
                if (is_there(bypass, candidate)) {
                        bypass->socket = TAKE_PTR(candidate);
                        return 0;
                }
        }
        return -ENOENT;
}

static int find_target(Bypass *bypass) {
        const char *name;
        int r;

        r = bypass_target(bypass->root_fd, bypass->socket, &bypass->target);
        if (r != -ENOENT)
                return r;
        name = kube_runtime(bypass->socket);
        if (bypass->runtime_arg)
                bypass->target = strdup(bypass->runtime_arg);
        else if (!name)
                return -ENOENT;
        else if (asprintf(&bypass->target, "/run/%s/%s.sock", name, name) < 0)
                bypass->target = NULL;
        return bypass->target ? 0 : -ENOMEM;
}

static void look(Bypass *bypass) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;

        bypass->open = (NetunixSocket){};
        if (nodefile_read_proc(bypass->root_fd, "/proc/net/unix", &text) >= 0)
                netunix_find(text.p, bypass->socket, &bypass->open);
}

/* Ends the podspan-cri that serves this socket; where systemd keeps it, it is back at once, at the other name. */
static int on_process(const char *path, void *userdata) {
        Bypass *bypass = userdata;
        _cleanup_bytes_ Bytes cmdline = BYTES_NULL;
        _cleanup_free_ char *listen = NULL, *file = NULL;
        _cleanup_close_ int fd = -EBADF;
        const char *pid = strrchr(path, '/') + 1, *base;
        struct pollfd pollfd = { .events = POLLIN };
        uint64_t n;

        if (util_parse_u64(pid, strlen(pid), &n) < 0 || n > INT32_MAX)
                return 0;
        /* Held before it is looked at: the number may be somebody else's by then. */
        fd = (int) syscall(SYS_pidfd_open, (pid_t) n, 0);
        if (fd < 0)
                return 0;
        if (asprintf(&file, "%s/cmdline", path) < 0) {
                file = NULL;
                return -ENOMEM;
        }
        if (nodefile_read_proc(bypass->root_fd, file, &cmdline) < 0 || cmdline.n == 0)
                return 0;
        base = strrchr(cmdline.p, '/');
        base = base ? base + 1 : cmdline.p;
        if (strcmp(base, "podspan-cri") != 0 || flagedit_argv(cmdline.p, cmdline.n, "--listen", &listen) < 0 ||
            strcmp(listen, bypass->socket) != 0)
                return 0;
        if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
                return -errno;
        pollfd.fd = fd;
        /* One that hangs is what a bypass is for. */
        if (poll(&pollfd, 1, END_WAIT_MS) <= 0 && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 &&
            errno != ESRCH)
                return -errno;
        bypass->ended++;
        return 0;
}

static const char *state_name(BypassState state) {
        return state == BYPASS_ON ? "on" : state == BYPASS_OFF ? "off" : "absent";
}

/* What an operator asks next. */
static const char *restart_text(const Bypass *bypass, BypassState state) {
        if (!bypass->dialled)
                return "kubelet's endpoint is not this socket: nothing changes for it";
        if (state == BYPASS_ON && bypass->open.connections > 0)
                return "kubelet need not restart; its open connections go on through podspan-cri until they end "
                       "(--now ends them)";
        if (state == BYPASS_OFF)
                return "kubelet need not restart; connections that it opened to the runtime go on until they end, "
                       "those it opens now pass through podspan-cri (to have all of them at once: systemctl restart "
                       "kubelet)";
        return "kubelet need not restart";
}

static CliExit print(const Bypass *bypass, BypassState state) {
        const Cli *cli = bypass->cli;

        if (cli->json) {
                _cleanup_(json_freep) Json *json = json_new(stdout);

                if (!json)
                        return cli_failure("out of memory");
                json_map(json);
                json_pair_str(json, "bypass", state_name(state));
                json_pair_bool(json, "changed", bypass->changed);
                json_pair_str(json, "socket", bypass->socket);
                json_pair_str(json, "runtime", bypass->target);
                json_pair_bool(json, "kubelet_dials_it", bypass->dialled);
                json_pair_u64(json, "connections", bypass->open.connections);
                json_pair_u64(json, "ended", bypass->ended);
                json_pair_bool(json, "restart_kubelet", false);
                json_pair_str(json, "note", restart_text(bypass, state));
                json_map_end(json);
                return cli_finish(json, CLI_OK);
        }
        printf("bypass %s%s: %s leads to %s\n", state_name(state),
               bypass->changed || bypass->want == WANT_STATUS ? "" : " already", bypass->socket,
               state == BYPASS_ON    ? bypass->target
               : state == BYPASS_OFF ? "podspan-cri"
                                     : "nothing");
        if (bypass->ended > 0)
                printf("podspan-cri was ended: kubelet dials again by itself\n");
        else if (bypass->open.connections > 0)
                printf("%u connections are open through podspan-cri\n", bypass->open.connections);
        printf("%s\n", restart_text(bypass, state));
        return cli_finish(NULL, CLI_OK);
}

static CliExit turn_on(Bypass *bypass, BypassState state) {
        int r;

        if (state != BYPASS_ON) {
                r = bypass_dial(bypass->root_fd, bypass->target);
                if (r < 0 && !bypass->force)
                        return cli_failure(
                                "the runtime does not listen on %s: %s; nothing was changed (--force, --runtime)",
                                bypass->target, strerror(-r));
                r = bypass_prepare(bypass->root_fd, bypass->socket, bypass->target);
                if (r >= 0)
                        r = bypass_switch(bypass->root_fd, bypass->socket, true);
                if (r < 0)
                        return cli_failure("%s: %s; nothing was changed", bypass->socket, strerror(-r));
                bypass->changed = true;
        }
        if (bypass->now) {
                r = nodefile_list(bypass->root_fd, "/proc", "", on_process, bypass);
                if (r < 0)
                        return cli_failure("podspan-cri could not be ended: %s", strerror(-r));
        }
        look(bypass);
        return print(bypass, BYPASS_ON);
}

static CliExit turn_off(Bypass *bypass, BypassState state) {
        _cleanup_free_ char *ours = NULL;
        int r;

        if (state == BYPASS_ON) {
                if (asprintf(&ours, "%s" BYPASS_SUFFIX, bypass->socket) < 0) {
                        ours = NULL;
                        return cli_failure("out of memory");
                }
                r = bypass_dial(bypass->root_fd, ours);
                if (r < 0 && !bypass->force)
                        return cli_failure(
                                "podspan-cri does not listen (%s: %s), kubelet would have no runtime; nothing was "
                                "changed (start it, or --force)",
                                ours, strerror(-r));
                r = bypass_switch(bypass->root_fd, bypass->socket, false);
                if (r < 0)
                        return cli_failure("%s: %s; nothing was changed", bypass->socket, strerror(-r));
                bypass->changed = true;
                r = bypass_state(bypass->root_fd, bypass->socket, &state);
                if (r < 0)
                        return cli_failure("%s: %s", bypass->socket, strerror(-r));
        }
        look(bypass);
        return print(bypass, state);
}

static CliExit run(Bypass *bypass) {
        BypassState state;
        int r;

        bypass->root_fd = nodefile_root(bypass->root);
        if (bypass->root_fd < 0)
                return cli_failure("%s: %s", bypass->root, strerror(-bypass->root_fd));
        r = find_socket(bypass);
        if (r == -ENOENT)
                return cli_nothing("no socket of podspan-cri's below %s (--socket names another)",
                                   bypass->cli->state_dir);
        if (r >= 0)
                r = find_target(bypass);
        if (r == -ENOENT)
                return cli_usage("--runtime has to say where the runtime listens");
        if (r >= 0)
                r = bypass_state(bypass->root_fd, bypass->socket, &state);
        if (r < 0)
                return cli_failure("%s: %s", bypass->socket ? bypass->socket : bypass->root,
                                   r == -EEXIST ? "neither a socket nor a link" : strerror(-r));
        switch (bypass->want) {
        case WANT_ON:
                return turn_on(bypass, state);
        case WANT_OFF:
                return turn_off(bypass, state);
        default:
                look(bypass);
                return print(bypass, state);
        }
}

CliExit cmd_bypass(Cli *cli, int argc, char **argv) {
        _cleanup_(bypass_deinit) Bypass bypass = { .cli = cli, .root = "/", .root_fd = -EBADF };
        int r;

        r = parse_argv(&bypass, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        return run(&bypass);
}
