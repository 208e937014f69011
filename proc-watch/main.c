/*
 * podspan-watch: the passive observer
 *
 * Turns the kernel's process events into spans of container runtimes, shims, hooks and CNI plugins; docs/watch.md says
 * what it does.
 */

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cgroup.h"
#include "filelimit.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "reload.h"
#include "trim.h"
#include "sysfilter.h"
#include "watch.h"
#include "watchstate.h"

#define ROOTS_MAX 8

static const char *arg_config;
static const char *arg_state_dir;
static const char *arg_roots[ROOTS_MAX];
static size_t n_arg_roots;
static bool arg_check;

typedef struct Program {
        Config config;
        Watch watch;
        Opener opener;
        int state_fd;
        int record_fd; /* the lock of our record, see watchstate.h */
        bool refused;  /* it cannot run here, whoever starts it again */
} Program;

static Program program = {
        .config = CONFIG_NULL,
        .watch = WATCH_NULL,
        .opener = OPENER_NULL,
        .state_fd = -EBADF,
        .record_fd = -EBADF,
};

static void help(void) {
        (void) printf(
                "Usage: podspan-watch [OPTION…]\n"
                "Traces container runtimes, shims, hooks and CNI plugins from the kernel's process events.\n\n"
                "  --config FILE       read FILE instead of " CONFIG_DIR "\n"
                "  --state-dir DIR     spool, context files and counters (default " CONFIG_STATE_DIR ")\n"
                "  --bundle-root DIR   containers' bundles lie below DIR too, besides where the\n"
                "                      running engines keep them; up to %d times\n"
                "  --check             only read the configuration, and say what is wrong with it\n"
                "  --help              show this text\n"
                "  --version           show the version\n\n"
                "SIGHUP: read the configuration again.\n"
                "Exit status: 0 ended by SIGTERM or SIGINT, 1 failure, also a wrong configuration, 2 wrong usage,\n"
                "%d cannot run here: the log and `podspan status` say what the kernel, its type information,\n"
                "a capability or the pid namespace lacks.\n",
                ROOTS_MAX, WATCHSTATE_EXIT_REFUSED);
}

/* 1: go on; 0 or -EINVAL: end. */
static int parse_argv(int argc, char **argv) {
        enum {
                ARG_CONFIG = 0x100,
                ARG_STATE_DIR,
                ARG_BUNDLE_ROOT,
                ARG_CHECK,
                ARG_HELP,
                ARG_VERSION,
        };
        static const struct option options[] = {
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state-dir", required_argument, NULL, ARG_STATE_DIR },
                { "bundle-root", required_argument, NULL, ARG_BUNDLE_ROOT },
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
                case ARG_BUNDLE_ROOT:
                        if (*optarg != '/' || n_arg_roots == ROOTS_MAX) {
                                (void) fprintf(stderr,
                                               "podspan-watch: --bundle-root takes an absolute path, %d times\n",
                                               ROOTS_MAX);
                                return -EINVAL;
                        }
                        arg_roots[n_arg_roots++] = optarg;
                        break;
                case ARG_CHECK:
                        arg_check = true;
                        break;
                case ARG_HELP:
                        help();
                        return 0;
                case ARG_VERSION:
                        (void) printf("podspan-watch %s\n", PODSPAN_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                (void) fprintf(stderr, "podspan-watch: unexpected argument '%s'\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

/* What `podspan status` says of us; that it cannot be recorded keeps nobody from running. */
static void record(Program *p, WatchStateKind kind, WatchStateMissing missing, const char *reason) {
        WatchState state = { .kind = kind, .missing = missing };
        int r;

        if (p->state_fd < 0)
                return;
        util_copy_bounded(state.reason, sizeof(state.reason), reason, strlen(reason));
        r = watchstate_write(p->state_fd, &state, &p->record_fd);
        if (r == -EBUSY)
                log_warning("Another podspan-watch has its record in the state directory: this one's state is not in "
                            "`podspan status`");
        else if (r < 0)
                (void) log_warning_errno(r, "Cannot record the state in " WATCHSTATE_FILE ": %m");
}

/* Logs and records why it ends; the service manager starts it again. Returns @r. */
static int failed(Program *p, int r, const char *what) {
        char reason[WATCHSTATE_REASON_MAX];

        (void) snprintf(reason, sizeof(reason), "%s: %s", what, strerror(-r));
        record(p, WATCHSTATE_FAILED, WATCHSTATE_MISSING_NONE, reason);
        return log_error_errno(r, "%s: %m", what);
}

/* Likewise, where starting it again is of no use. Returns -EOPNOTSUPP. */
static int refused(Program *p, const LoaderVerdict *verdict) {
        p->refused = true;
        record(p, WATCHSTATE_REFUSED, verdict->missing, verdict->reason);
        notify_sendf("STATUS=Cannot run here: %s", verdict->reason);
        log_error("Cannot run here (%s): %s", watchstate_missing_name(verdict->missing), verdict->reason);
        return -EOPNOTSUPP;
}

static int drop_privileges(const Program *p) {
        const char *readable[LINK_ROOTS_MAX + 3];
        PrivilegePaths paths = { .readable = readable, .state_fd = p->state_fd };
        _cleanup_free_ char *folder = NULL;
        int r;

        r = config_folder(arg_config, &folder);
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->watch.link.n_roots; i++)
                readable[paths.n_readable++] = p->watch.link.roots[i];
        readable[paths.n_readable++] = "/proc";
        readable[paths.n_readable++] = CGROUP_ROOT;
        /* To be read again. Of one that is not there, what is above it is not meant. */
        if (strcmp(folder, "/") != 0 && access(folder, F_OK) == 0)
                readable[paths.n_readable++] = folder;

        r = privilege_drop(&paths, sysfilter_kill_wanted());
        if (r < 0)
                return r;
        if (r == PRIVILEGE_NO_LANDLOCK)
                log_info("This kernel has no Landlock: the file system is not closed off");
        return 0;
}

static int apply(void *userdata, char **reterr_message _unused_) {
        Program *p = userdata;

        watch_configure(&p->watch, &p->config);
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

static void reload(Watch *watch) {
        Program *p = container_of(watch, Program, watch);

        reload_run(&(Reload){
                .file = arg_config,
                .config = &p->config,
                .keeps_tracing = true,
                .apply = apply,
                .report = report_reload,
                .userdata = p,
        });
}

static int open_state(Program *p) {
        const char *path = config_state_dir(arg_state_dir);

        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return log_error_errno(-errno, "Cannot make %s: %m", path);
        p->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return p->state_fd < 0 ? log_error_errno(-errno, "Cannot open %s: %m", path) : 0;
}

/* Also what ExecReload= runs before it signals: a wrong configuration has to fail there, since nobody waits for what a
 * signal leads to. */
static int load(Program *p) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = config_load(arg_config, &p->config, &message);
        if (r >= 0)
                return 0;
        if (!arg_check && open_state(p) >= 0)
                record(p, WATCHSTATE_FAILED, WATCHSTATE_MISSING_NONE, message ? message : "Out of memory");
        return log_error_errno(r, "%s", message ? message : "Out of memory");
}

static int setup(Program *p) {
        LoaderVerdict verdict = {};
        int r;

        (void) mallopt(M_TRIM_THRESHOLD, 64 * 1024);

        r = load(p);
        if (r < 0)
                return r;
        log_set_level(p->config.log_level);

        /* Before anything else is open or in memory: it is a copy of this process. */
        r = opener_init(&p->opener, sysfilter_kill_wanted());
        if (r < 0)
                return log_error_errno(r, "Cannot start what opens bundles: %m");
        p->watch.opener = &p->opener;

        r = open_state(p);
        if (r < 0)
                return r;
        record(p, WATCHSTATE_STARTING, WATCHSTATE_MISSING_NONE, "");

        p->watch.reload = reload;
        r = watch_init(&p->watch, &p->config, p->state_fd, arg_roots, n_arg_roots);
        if (r < 0)
                return failed(p, r, "Cannot set up");
        r = p->config.enable_tracing ? watch_start(&p->watch, &verdict) : 0;
        if (r < 0 && verdict.missing != WATCHSTATE_MISSING_NONE)
                return refused(p, &verdict);
        if (r < 0)
                return failed(p, r, "Cannot watch processes");

        r = drop_privileges(p);
        return r < 0 ? failed(p, r, "Cannot give up privileges") : 0;
}

static int run(Program *p) {
        int r;

        /* The kernel's type information has been read for the relocations: megabytes. */
        trim_memory();
        log_info("Watching%s", p->config.enable_tracing ? "" : " nothing, tracing is disabled");
        record(p, WATCHSTATE_RUNNING, WATCHSTATE_MISSING_NONE,
               p->config.enable_tracing ? "" : "Tracing is disabled (enable_tracing = false): nothing is watched.");
        notify_send("READY=1");
        r = watch_run(&p->watch);
        notify_send("STOPPING=1");
        if (r < 0)
                return failed(p, r, "Ended");
        record(p, WATCHSTATE_STOPPED, WATCHSTATE_MISSING_NONE, "");
        return 0;
}

static void teardown(Program *p) {
        watch_deinit(&p->watch);
        opener_deinit(&p->opener);
        config_deinit(&p->config);
        p->record_fd = close_fd(p->record_fd);
        p->state_fd = close_fd(p->state_fd);
}

int main(int argc, char **argv) {
        int r;

        filelimit_ignore();
        util_fill_standard_fds();
        log_setup("podspan-watch", LOG_LEVEL_INFO);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : 0;

        r = arg_check ? load(&program) : setup(&program);
        if (r >= 0 && !arg_check)
                r = run(&program);
        teardown(&program);
        return program.refused ? WATCHSTATE_EXIT_REFUSED : r < 0 ? 1 : 0;
}
