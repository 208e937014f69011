#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "agent.h"
#include "configvalue.h"
#include "filelimit.h"
#include "log.h"
#include "notify.h"
#include "reload.h"
#include "seccompf.h"
#include "spawner.h"
#include "sysfilter.h"
#include "watchdog.h"

#define EXIT_USAGE 2

static const char *arg_config;
static const char *arg_state_dir;
static const char *arg_store_dir;
static bool arg_check;

typedef struct Daemon {
        int spawner_fd;
        Config config;
        Loop *loop;
        LoopSignal signals;
        Watchdog watchdog;
        Agent *agent;
        bool stopping;
} Daemon;

static void daemon_deinit(Daemon *daemon) {
        agent_free(daemon->agent);
        watchdog_deinit(&daemon->watchdog);
        loop_signal_remove(&daemon->signals);
        loop_free(daemon->loop);
        close_fd(daemon->spawner_fd);
        config_deinit(&daemon->config);
}

static void print_help(void) {
        printf("podspand [OPTION...]\n"
               "\n"
               "Collects podspan's spans from the spool, keeps them in a store, exports them by OTLP gRPC.\n"
               "\n"
               "  --config FILE     read FILE and nothing of " CONFIG_DIR "\n"
               "  --state-dir DIR   spool, counters and context files are here (" CONFIG_STATE_DIR ")\n"
               "  --store-dir DIR   the store is here (" CONFIG_STORE_DIR ")\n"
               "  --check           only read the configuration, and say what is wrong with it\n"
               "  --help            this text\n"
               "  --version         the version\n"
               "\n"
               "Runs in the foreground until SIGTERM or SIGINT. SIGHUP: read the configuration again.\n"
               "Exit codes: 0 ok, 1 failure, also a wrong configuration, 2 usage.\n");
}

/* Returns 1 to go on, or 0 where all is said, or -EINVAL. */
static int parse_argv(int argc, char **argv) {
        enum {
                ARG_CONFIG = 0x100,
                ARG_STATE_DIR,
                ARG_STORE_DIR,
                ARG_CHECK,
                ARG_HELP,
                ARG_VERSION,
        };
        static const struct option options[] = {
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state-dir", required_argument, NULL, ARG_STATE_DIR },
                { "store-dir", required_argument, NULL, ARG_STORE_DIR },
                { "check", no_argument, NULL, ARG_CHECK },
                { "help", no_argument, NULL, ARG_HELP },
                { "version", no_argument, NULL, ARG_VERSION },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case ARG_CONFIG:
                        arg_config = optarg;
                        break;
                case ARG_STATE_DIR:
                        arg_state_dir = optarg;
                        break;
                case ARG_STORE_DIR:
                        arg_store_dir = optarg;
                        break;
                case ARG_CHECK:
                        arg_check = true;
                        break;
                case ARG_HELP:
                        print_help();
                        return 0;
                case ARG_VERSION:
                        printf("podspand %s\n", PODSPAN_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                fprintf(stderr, "podspand: takes no arguments: %s\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int apply(void *userdata, char **reterr_message) {
        Daemon *daemon = userdata;
        int r;

        r = agent_reload(daemon->agent, reterr_message);
        if (r == 0)
                notify_sendf("STATUS=%s", agent_status(daemon->agent));
        return r;
}

static void report_reload(void *userdata _unused_, int result, const char *message) {
        if (result < 0)
                (void) log_error_errno(result, "The configuration stays as it was: %s", message);
        else
                log_info("The configuration was read again");
}

static int on_signal(LoopSignal *source, const struct signalfd_siginfo *info) {
        Daemon *daemon = container_of(source, Daemon, signals);

        if (daemon->stopping)
                return 0;
        if (info->ssi_signo == SIGHUP) {
                reload_run(&(Reload){ .file = arg_config,
                                      .config = &daemon->config,
                                      .apply = apply,
                                      .report = report_reload,
                                      .userdata = daemon });
                return 0;
        }
        daemon->stopping = true;
        notify_send("STOPPING=1");
        return agent_finish(daemon->agent);
}

/* What ExecReload= runs before it signals: a configuration that the daemon would not take has to fail there, since
 * nobody waits for what a signal leads to. */
static int check(Daemon *daemon) {
        const char *const files[] = { daemon->config.tracing_certificate, daemon->config.tracing_client_certificate,
                                      daemon->config.tracing_client_key };

        ConfigEndpoint endpoint = {};
        const char *reason;

        if (!config_exports(&daemon->config))
                return 0;
        if (configvalue_endpoint(daemon->config.tracing_endpoint, daemon->config.tracing_insecure, &endpoint, &reason) <
            0) {
                log_error("tracing_endpoint: %s", reason);
                return -EINVAL;
        }
        for (size_t i = 0; endpoint.tls && i < ARRAY_SIZE(files); i++)
                if (files[i] && *files[i] && access(files[i], R_OK) < 0)
                        return log_error_errno(-errno, "%s: %m", files[i]);
        return 0;
}

static int load(Daemon *daemon) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = config_load(arg_config, &daemon->config, &message);
        if (r < 0)
                return log_error_errno(r, "%s", message ? message : strerror(-r));
        return 0;
}

static int setup(Daemon *daemon) {
        sigset_t signals;
        int r;

        /* First: it has no part in what follows. */
        r = spawner_start(&daemon->spawner_fd);
        if (r < 0)
                return log_error_errno(r, SPAWNER_PROGRAM ": %m; it belongs into " PODSPAN_LIBEXECDIR);

        /* The store is for the group, the spool as well; others have no part in it. */
        (void) umask(0027);

        log_set_level(daemon->config.log_level);

        r = loop_new(&daemon->loop);
        if (r < 0)
                return log_error_errno(r, "event loop: %m");

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGHUP);
        r = loop_signal_add(&daemon->signals, daemon->loop, &signals, on_signal);
        if (r < 0)
                return log_error_errno(r, "signals: %m");

        r = seccompf_load(sysfilter_kill_wanted());
        if (r < 0)
                return log_error_errno(r, "seccomp: %m");

        r = agent_new(daemon->loop, daemon->spawner_fd, &daemon->config, config_state_dir(arg_state_dir),
                      config_store_dir(arg_store_dir), &daemon->agent);
        if (r < 0)
                return r;

        r = watchdog_init(&daemon->watchdog, daemon->loop);
        if (r < 0)
                return log_error_errno(r, "watchdog: %m");
        return 0;
}

static int run(Daemon *daemon) {
        int r;

        log_info("%s", agent_status(daemon->agent));
        notify_sendf("READY=1\nSTATUS=%s", agent_status(daemon->agent));
        r = loop_run(daemon->loop);
        if (r < 0)
                return log_error_errno(r, "stopped: %m");
        return r;
}

int main(int argc, char **argv) {
        _cleanup_(daemon_deinit) Daemon daemon = {
                .spawner_fd = -EBADF,
                .config = CONFIG_NULL,
                .signals = LOOP_SIGNAL_NULL,
                .watchdog = WATCHDOG_NULL,
        };
        int r;

        filelimit_ignore();
        util_fill_standard_fds();
        log_setup("podspand", LOG_LEVEL_INFO);

        r = parse_argv(argc, argv);
        if (r <= 0)
                return r == 0 ? EXIT_SUCCESS : EXIT_USAGE;

        r = load(&daemon);
        if (r == 0 && arg_check)
                return check(&daemon) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        if (r == 0)
                r = setup(&daemon);
        if (r == 0)
                r = run(&daemon);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
