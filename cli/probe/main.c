/*
 * podspan-probe: a CRI client of our own, started by `podspan probe`
 *
 * An executable of its own, so that the rest of the command line does not load gRPC.
 */

#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include "cli.h"
#include "filelimit.h"
#include "grpcstatus.h"
#include "probe.h"
#include "status.h"

#define TIMEOUT_DEFAULT_NS (60 * NSEC_PER_SEC)
#define STORE_WAIT_NS      (5 * NSEC_PER_SEC)    /* until the trace is in the store */
#define STORE_QUIET_NS     (700 * NSEC_PER_MSEC) /* a span is in the spool 200 ms after its end at the latest */
#define STORE_RECHECK_NS   (200 * NSEC_PER_MSEC) /* the log is written before the commit in it can be seen */

enum {
        ARG_RUNTIME_ENDPOINT = CLI_ARG_OWN,
        ARG_IMAGE,
        ARG_NO_CONTAINER,
        ARG_PULL,
        ARG_RUNTIME_HANDLER,
        ARG_TIMEOUT,
        ARG_HOST_NETWORK,
        ARG_KEEP,
};

static const char help[] =
        "Usage: podspan probe [OPTION]... [-- COMMAND [ARGUMENT]...]\n"
        "\n"
        "Runs one pod through the node's CRI socket, takes it away again, and shows its trace. Without\n"
        "--image the pod is a sandbox alone, which needs no image but the runtime's own pause image.\n"
        "\n"
        "  --runtime-endpoint EP   unix:///PATH or PATH of the CRI socket; else CONTAINER_RUNTIME_ENDPOINT, else\n"
        "                          the first of podspan-cri's, CRI-O's and containerd's sockets that is there\n"
        "  --image NAME            also run a container of this image, with COMMAND instead of its own\n"
        "  --no-container          the sandbox alone, whatever --image says\n"
        "  --pull                  fetch the image if the node does not have it\n"
        "  --runtime-handler H     runtime handler (runtime class); the runtime's default unless given\n"
        "  --host-network          the node's network instead of one made by CNI\n"
        "  --timeout DURATION      for everything before the cleaning up; 60s unless given\n"
        "  --keep                  leave the pod there\n"
        "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 the pod ran, 1 it did not, 2 usage, 3 it ran, but its trace is not in the store.\n";

static int parse_argv(Cli *cli, ProbeOptions *probe, int argc, char **argv) {
        static const struct option options[] = {
                CLI_OPTIONS,
                { "runtime-endpoint", required_argument, NULL, ARG_RUNTIME_ENDPOINT },
                { "image", required_argument, NULL, ARG_IMAGE },
                { "no-container", no_argument, NULL, ARG_NO_CONTAINER },
                { "pull", no_argument, NULL, ARG_PULL },
                { "runtime-handler", required_argument, NULL, ARG_RUNTIME_HANDLER },
                { "timeout", required_argument, NULL, ARG_TIMEOUT },
                { "host-network", no_argument, NULL, ARG_HOST_NETWORK },
                { "keep", no_argument, NULL, ARG_KEEP },
                {},
        };
        bool no_container = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                switch (c) {
                case ARG_RUNTIME_ENDPOINT:
                        probe->endpoint = optarg;
                        break;
                case ARG_IMAGE:
                        probe->image = optarg;
                        break;
                case ARG_NO_CONTAINER:
                        no_container = true;
                        break;
                case ARG_PULL:
                        probe->pull = true;
                        break;
                case ARG_RUNTIME_HANDLER:
                        probe->runtime_handler = optarg;
                        break;
                case ARG_TIMEOUT:
                        if (util_parse_duration(optarg, strlen(optarg), &probe->timeout_ns) < 0 ||
                            probe->timeout_ns == 0) {
                                (void) cli_usage("\"%s\" is no duration; write 500ms, 30s or 2m", optarg);
                                return -EINVAL;
                        }
                        break;
                case ARG_HOST_NETWORK:
                        probe->host_network = true;
                        break;
                case ARG_KEEP:
                        probe->keep = true;
                        break;
                default:
                        break;
                }
        }
        if (no_container)
                probe->image = NULL;
        if (optind < argc)
                probe->command = argv + optind;
        if (probe->command && !probe->image) {
                (void) cli_usage("a command (\"%s\") needs --image", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

/* The socket that kubelet would most likely use; podspan-cri's first. */
static const char *default_endpoint(const char *state_dir, char *buf, size_t size) {
        static const char *const own[] = { "run/crio/crio.sock", "run/containerd/containerd.sock", "cri.sock" };
        static const char *const runtimes[] = { "/run/crio/crio.sock", "/run/containerd/containerd.sock" };
        const char *env = getenv("CONTAINER_RUNTIME_ENDPOINT");

        if (env && *env)
                return env;
        for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
                int n = snprintf(buf, size, "%s/%s", state_dir, own[i]);

                if (n > 0 && (size_t) n < size && access(buf, F_OK) == 0)
                        return buf;
        }
        for (size_t i = 0; i < ARRAY_SIZE(runtimes); i++)
                if (access(runtimes[i], F_OK) == 0)
                        return runtimes[i];
        return NULL;
}

/* Waits until something changes in the directory of @inotify_fd, at most until the monotonic time @until_ns. 0, or
 * -EINTR after a signal. */
static int wait_for_change(int inotify_fd, int signal_fd, uint64_t until_ns) {
        struct pollfd fds[] = { { .fd = inotify_fd, .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };
        uint64_t now = clk_monotonic(), left = until_ns > now ? until_ns - now : 0;
        struct timespec timeout = { .tv_sec = (time_t) (left / NSEC_PER_SEC), .tv_nsec = (long) (left % NSEC_PER_SEC) };
        char events[4096];

        if (ppoll(fds, ARRAY_SIZE(fds), &timeout, NULL) < 0)
                return -errno;
        if (fds[1].revents != 0)
                return -EINTR;
        while (read(inotify_fd, events, sizeof(events)) > 0)
                ;
        return 0;
}

/*
 * Opens the store when @n spans of the trace are in it and nothing has come for a while (others' spans of the trace
 * arrive when they like). Returns 0, -ETIMEDOUT, or a negative errno.
 */
static int wait_for_trace(const Cli *cli, const Probe *probe, uint64_t n, StoreDb **ret) {
        _cleanup_close_ int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        uint64_t end_ns = clk_monotonic() + STORE_WAIT_NS, seen = 0, changed_ns = clk_monotonic();
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        int r;

        if (inotify_fd < 0)
                return -errno;
        /* The write-ahead log is written with write(2), which inotify reports. */
        (void) inotify_add_watch(inotify_fd, cli->store_dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);

        for (;;) {
                _cleanup_free_ char *message = NULL;
                uint64_t now_ns = clk_monotonic(), count = 0;

                if (!db)
                        (void) storedb_open(cli->store_dir, &db, &message);
                if (db && storedb_count(db, probe->root.trace_id, &count) >= 0 && count != seen) {
                        seen = count;
                        changed_ns = now_ns;
                }
                if ((seen >= n && now_ns >= changed_ns + STORE_QUIET_NS) || now_ns >= end_ns) {
                        if (!db || seen == 0)
                                return -ETIMEDOUT;
                        *ret = TAKE_PTR(db);
                        return 0;
                }
                r = wait_for_change(inotify_fd, probe->signal_fd, MIN(end_ns, now_ns + STORE_RECHECK_NS));
                if (r < 0)
                        return r;
        }
}

static void print_calls(Json *json, const Probe *probe) {
        json_key(json, "calls");
        json_array(json);
        for (size_t i = 0; i < probe->n_calls; i++) {
                const ProbeCall *call = &probe->calls[i];

                json_map(json);
                json_pair_str(json, "method", call->method);
                json_time(json, "start", call->start_ns);
                json_pair_u64(json, "duration_ns", call->duration_ns);
                json_pair_str(json, "status", grpc_status_name(call->status.code));
                json_pair_known(json, "message", call->status.message);
                json_map_end(json);
        }
        json_array_end(json);
}

static CliExit print_json(Cli *cli, const Probe *probe, int result, StoreDb *db) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        CliExit code = CLI_OK;

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_pair_bool(json, "ok", result >= 0);
        json_pair_str(json, "error", result < 0 ? (*probe->error ? probe->error : strerror(-result)) : NULL);
        json_pair_str(json, "endpoint", probe->options->endpoint);
        json_pair_known(json, "runtime_name", probe->runtime_name);
        json_pair_known(json, "runtime_version", probe->runtime_version);
        json_key(json, "trace_id");
        json_hex(json, probe->root.trace_id, sizeof(probe->root.trace_id));
        json_pair_str(json, "pod_name", probe->identity.pod_name);
        json_pair_str(json, "pod_namespace", probe->identity.pod_namespace);
        json_pair_str(json, "pod_uid", probe->identity.pod_uid);
        json_pair_known(json, "sandbox_id", probe->identity.sandbox_id);
        json_pair_known(json, "container_id", probe->identity.container_id);
        print_calls(json, probe);
        json_key(json, "trace");
        if (db) {
                json_map(json);
                code = cmd_trace_print(cli, db, probe->root.trace_id, json);
                json_map_end(json);
        } else
                json_null(json);
        json_map_end(json);
        return cli_finish(json, code);
}

/* Tells how it went; returns the exit code. */
static CliExit report(Cli *cli, const Probe *probe, int result) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        CliExit code;
        char id[33];
        int r = -ENOENT;

        util_hex_encode(probe->root.trace_id, sizeof(probe->root.trace_id), id);
        /* Every call has a span, and the root. */
        if (probe->spool.dir_fd >= 0 && result != -EINTR && status_podspand(cli) != STATUS_DEAD)
                r = wait_for_trace(cli, probe, probe->n_calls + 1, &db);

        if (cli->json)
                code = print_json(cli, probe, result, db);
        else if (db) {
                code = cmd_trace_print(cli, db, probe->root.trace_id, NULL);
                code = cli_finish(NULL, code);
        } else
                code = CLI_OK;

        if (*probe->left_id)
                (void) cli_failure("the pod could not be taken away; remove it with: crictl rmp -f %s", probe->left_id);
        if (result == -EINTR)
                return cli_failure("interrupted; %s", *probe->error ? probe->error : "everything was taken away");
        if (result < 0)
                return cli_failure("%s", *probe->error ? probe->error : strerror(-result));
        if (probe->options->keep && *probe->identity.sandbox_id)
                fprintf(stderr, "podspan: the pod is still there: sandbox %s\n", probe->identity.sandbox_id);
        if (probe->spool.dir_fd < 0)
                return cli_nothing("the pod ran, but nobody collects spans: no %s/spool (trace %s)", cli->state_dir,
                                   id);
        if (r == -ENOENT)
                return cli_nothing("the pod ran, but podspand is not running to collect its trace %s", id);
        if (r < 0)
                return cli_nothing("the pod ran, but its trace %s did not appear in the store at %s", id,
                                   cli->store_dir);
        return code;
}

/* Before gRPC starts its threads, which inherit this: signals are read from a descriptor. */
static void block_signals(void) {
        sigset_t signals;

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
}

int main(int argc, char **argv) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        _cleanup_(probe_deinit)
                Probe probe = { .spool = SPOOL_NULL, .signal_fd = -EBADF, .stop_fd = -EBADF, .interrupt_fd = -EBADF };
        ProbeOptions options = { .timeout_ns = TIMEOUT_DEFAULT_NS, .runtime_handler = "" };
        _cleanup_close_ int state_fd = -EBADF;
        _cleanup_free_ char *message = NULL;
        Cli cli = CLI_NULL;
        char endpoint[256];
        int r;

        filelimit_ignore();
        (void) setlocale(LC_ALL, "");
        r = parse_argv(&cli, &options, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(&cli);
        block_signals();

        r = config_load(cli.config_file, &config, &message);
        if (r < 0)
                return cli_failure("%s", message ? message : strerror(-r));
        if (!options.endpoint)
                options.endpoint = default_endpoint(cli.state_dir, endpoint, sizeof(endpoint));
        if (!options.endpoint)
                return cli_failure("no CRI socket found; name it with --runtime-endpoint");
        options.state_dir = cli.state_dir;
        options.progress = isatty(STDERR_FILENO) == 1;

        state_fd = cli_open_state(&cli);
        r = probe_init(&probe, &options, &config, state_fd);
        if (r == -EINVAL)
                return cli_usage("\"%s\" is no endpoint; write unix:///PATH or /PATH", options.endpoint);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return report(&cli, &probe, probe_run(&probe));
}
