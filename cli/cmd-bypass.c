#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include "bypass.h"
#include "cli.h"
#include "kube.h"
#include "netunix.h"
#include "nodefile.h"
#include "nodeproc.h"

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
        "  --socket PATH     podspan-cri's socket (else kubelet's endpoint, or what is in the state directory);\n"
        "                    elsewhere all its folders must be root's\n"
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
        int folder_fd; /* of the socket: what is done is done below it, whatever becomes of the path */
        char *socket;
        char *at; /* the socket's name below folder_fd, "/containerd.sock" */
        char *target;
        bool dialled; /* kubelet's endpoint is this socket */
        bool changed;
        unsigned ended; /* podspan-cri processes */
        NetunixSocket open;
} Bypass;

static void bypass_deinit(Bypass *bypass) {
        close_fd(bypass->root_fd);
        close_fd(bypass->folder_fd);
        free(bypass->socket);
        free(bypass->at);
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
        int r;

        /* What was prepared counts: podspan-cri and its socket may be gone. And so does what is refused later. */
        r = bypass_state(bypass->root_fd, path, &state);
        return r == -EPERM || (r >= 0 && state != BYPASS_ABSENT) || bypass_target(bypass->root_fd, path, &target) >= 0;
}

/* Kubelet's endpoint if it is ours, else what is there. */
static int find_socket(Bypass *bypass) {
        static const char *const names[] = { "crio", "containerd" };
        _cleanup_(kube_deinit) Kube kube = KUBE_NULL;
        _cleanup_free_ char *path = NULL;

        if (kube_find(bypass->root_fd, &kube) >= 0) {
                path = kube_path(kube.running_endpoint ? kube.running_endpoint : kube_endpoint(&kube, false, NULL));
                if (!path)
                        return -ENOMEM;
                bypass->dialled = bypass->socket_arg
                                          ? nodefile_same(bypass->root_fd, path, bypass->socket_arg)
                                          : nodefile_is_beneath(bypass->root_fd, bypass->cli->state_dir, path);
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

/* From here on the folder is what was checked. One that --socket names must be root's, all the way down to it. */
static int open_folder(Bypass *bypass) {
        _cleanup_free_ char *folder = NULL;
        const char *name;
        int r;

        bypass->folder_fd = nodefile_open_beneath(bypass->root_fd, bypass->cli->state_dir, bypass->socket, &name);
        if (bypass->folder_fd == -EXDEV && bypass->socket_arg && *bypass->socket == '/') {
                name = strrchr(bypass->socket, '/') + 1;
                folder = strndup(bypass->socket, (size_t) (name - bypass->socket));
                if (!folder)
                        return -ENOMEM;
                r = nodefile_check_owner(bypass->root_fd, folder);
                if (r < 0)
                        return r;
                bypass->folder_fd = nodefile_open(bypass->root_fd, folder, O_RDONLY | O_DIRECTORY);
        }
        if (bypass->folder_fd < 0)
                return bypass->folder_fd;
        if (asprintf(&bypass->at, "/%s", name) < 0) {
                bypass->at = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int find_target(Bypass *bypass) {
        const char *name;
        int r;

        r = bypass_target(bypass->folder_fd, bypass->at, &bypass->target);
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
static int end_interceptor(Bypass *bypass, char *reterr, size_t reterr_size) {
        _cleanup_nodeprocs_ Nodeprocs found = NODEPROC_NULL, again = NODEPROC_NULL;
        const Nodeproc *proc, *same;
        _cleanup_close_ int fd = -EBADF;
        struct pollfd pollfd = { .events = POLLIN };
        int r;

        r = nodeproc_find(bypass->root_fd, NODEPROC_CRI, &found);
        if (r < 0)
                return r;
        proc = nodeproc_one(&found, "--listen", bypass->socket);
        if (!proc) {
                nodeproc_describe(&found, reterr, reterr_size);
                return nodeproc_count(&found, "--listen", bypass->socket) > 1 ? -EEXIST : 0;
        }
        /* Looked at once more with the number held: it may have become another's in between. */
        fd = (int) syscall(SYS_pidfd_open, proc->pid, 0);
        if (fd < 0)
                return errno == ESRCH ? 0 : -errno;
        r = nodeproc_find(bypass->root_fd, NODEPROC_CRI, &again);
        if (r < 0)
                return r;
        same = nodeproc_one(&again, "--listen", bypass->socket);
        if (!same || same->pid != proc->pid || same->start_ticks != proc->start_ticks)
                return -EAGAIN;
        if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
                return errno == ESRCH ? 0 : -errno;
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
        /* Only where a bypass has just ended can kubelet have connections to the runtime. */
        if (state == BYPASS_OFF && bypass->changed)
                return "kubelet need not restart; connections that it opened to the runtime go on until they end, "
                       "those it opens now pass through podspan-cri (to have all of them at once: systemctl restart "
                       "kubelet.service)";
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
        char who[512] = "";
        int r;

        if (state != BYPASS_ON) {
                r = bypass_dial(bypass->root_fd, bypass->target);
                if (r == -EPERM)
                        return cli_failure("who listens on %s is not root, so it is no runtime; nothing was changed",
                                           bypass->target);
                if (r < 0 && !bypass->force)
                        return cli_failure(
                                "the runtime does not listen on %s: %s; nothing was changed (--force, --runtime)",
                                bypass->target, strerror(-r));
                r = bypass_prepare(bypass->folder_fd, bypass->at, bypass->target);
                if (r >= 0)
                        r = bypass_switch(bypass->folder_fd, bypass->at, true);
                if (r < 0)
                        return cli_failure("%s: %s; nothing was changed", bypass->socket, strerror(-r));
                bypass->changed = true;
        }
        if (bypass->now) {
                r = end_interceptor(bypass, who, sizeof(who));
                if (r == -EEXIST)
                        return cli_failure("bypass on, but more than one process could be podspan-cri (%s): none was "
                                           "ended, open connections go on",
                                           who);
                if (r < 0)
                        return cli_failure("bypass on, but podspan-cri could not be ended: %s", strerror(-r));
        }
        look(bypass);
        return print(bypass, BYPASS_ON);
}

static CliExit turn_off(Bypass *bypass, BypassState state) {
        _cleanup_free_ char *ours = NULL;
        int r;

        if (state == BYPASS_ON) {
                if (asprintf(&ours, "%s" BYPASS_SUFFIX, bypass->at) < 0) {
                        ours = NULL;
                        return cli_failure("out of memory");
                }
                r = bypass_dial(bypass->folder_fd, ours);
                if (r == -EPERM)
                        return cli_failure("who listens on %s" BYPASS_SUFFIX " is not root; nothing was changed",
                                           bypass->socket);
                if (r < 0 && !bypass->force)
                        return cli_failure("podspan-cri does not listen (%s" BYPASS_SUFFIX
                                           ": %s), kubelet would have no runtime; nothing was changed (start it, or "
                                           "--force)",
                                           bypass->socket, strerror(-r));
                r = bypass_switch(bypass->folder_fd, bypass->at, false);
                if (r < 0)
                        return cli_failure("%s: %s; nothing was changed", bypass->socket, strerror(-r));
                bypass->changed = true;
                r = bypass_state(bypass->folder_fd, bypass->at, &state);
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
        if (r >= 0) {
                r = open_folder(bypass);
                if (r == -EXDEV || r == -ELOOP)
                        return cli_failure(
                                "%s leads out of %s: that is no socket of podspan-cri's; nothing was changed",
                                bypass->socket, bypass->cli->state_dir);
                if (r == -EPERM)
                        return cli_failure("others than root can write a folder of %s; nothing was changed",
                                           bypass->socket);
                if (r == -ENOENT || r == -EINVAL)
                        return cli_nothing("no socket of podspan-cri's at %s (--socket names another)", bypass->socket);
        }
        if (r >= 0)
                r = find_target(bypass);
        if (r == -ENOENT)
                return cli_usage("--runtime has to say where the runtime listens");
        if (r >= 0)
                r = bypass_state(bypass->folder_fd, bypass->at, &state);
        if (r == -EPERM)
                return cli_failure("%s: others than root can change it or its folder; nothing was changed",
                                   bypass->socket);
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
        _cleanup_(bypass_deinit) Bypass bypass = { .cli = cli, .root = "/", .root_fd = -EBADF, .folder_fd = -EBADF };
        int r;

        r = parse_argv(&bypass, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        return run(&bypass);
}
