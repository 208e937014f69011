#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "caller.h"
#include "conmon.h"
#include "detach.h"
#include "exitstatus.h"
#include "exitstep.h"
#include "healthcheck.h"
#include "monitor.h"
#include "report.h"
#include "runtimecall.h"
#include "trace.h"
#include "trim.h"

#define OOM_SCORE (-1000)

typedef struct Conmon {
        const ConmonLine *line;
        char *const *envp;

        const char *bundle; /* NULL: none */
        char cwd[PATH_MAX];
        char *pid_file;
        char *link; /* of the bundle in --socket-dir-path; NULL: none */

        Caller caller;
        sigset_t mask; /* as it was at the start */
        bool default_sigpipe;
        int oom_score;

        Loop *loop;
        LoopSignal signals;
        Logs *logs;
        Monitor monitor;
        bool runtime_called;
        bool ended;
        MonitorEnd end;
        Clk began, admitted;
        int exit_code;

        RuntimeArgs runtime;
        Trace trace;
        LoopDefer write_spans;
        pid_t caller_pid;
        int runtime_status;
        Clk runtime_ended;
        AttachRecord attached[ATTACH_CLIENTS_MAX]; /* ended with the container, not told yet */
        size_t n_attached;
} Conmon;

static void conmon_deinit(Conmon *conmon) {
        if (conmon->link)
                (void) unlink(conmon->link);
        loop_defer_cancel(&conmon->write_spans);
        trace_deinit(&conmon->trace);
        monitor_deinit(&conmon->monitor);
        loop_signal_remove(&conmon->signals);
        conmon->logs = logs_free(conmon->logs);
        conmon->loop = loop_free(conmon->loop);
        free(TAKE_PTR(conmon->link));
        free(TAKE_PTR(conmon->pid_file));
}

/*
 * Says why the runtime is not called: to the log, to the caller, who would else see a closed pipe and nothing more, and
 * in the trace. Returns @error.
 */
static _printf_(3, 4) int set_up_failed(Conmon *conmon, int error, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        report_error("%s", text ? text : "out of memory");
        (void) caller_tell(&conmon->caller, -1, text, text ? strlen(text) : 0);
        trace_set_up_failed(&conmon->trace, text);
        return error;
}

static int check_line(const ConmonLine *line) {
        ReportLevel level = REPORT_WARNING;
        const char *text;
        bool usage;

        text = conmonline_check(line, &usage);
        if (text && usage) {
                (void) fprintf(stderr, "conmon: %s\n", text);
                return -EINVAL;
        }
        if (line->log_level && report_level_parse(line->log_level, &level) < 0) {
                report_error("No such log level %s", line->log_level);
                return -EINVAL;
        }
        report_setup(level, line->cid, line->syslog);

        if (text) {
                report_error("%s", text);
                return -EINVAL;
        }
        if (access(line->runtime, X_OK) < 0) {
                report_error("Runtime path %s is not valid %m", line->runtime);
                return -EINVAL;
        }
        if (line->exec && !line->exec_process_spec) {
                report_error("Exec process spec path not provided. Use --exec-process-spec");
                return -EINVAL;
        }
        return 0;
}

static int find_paths(Conmon *conmon) {
        const ConmonLine *line = conmon->line;

        if (!getcwd(conmon->cwd, sizeof(conmon->cwd))) {
                report_error("Failed to get working directory");
                return -errno;
        }

        /* An exec without a bundle has nobody to attach. */
        conmon->bundle = line->bundle;
        if (!conmon->bundle && !line->exec)
                conmon->bundle = conmon->cwd;

        if (line->exit_delay < 0) {
                report_error("Delay before invoking exit command must be greater than or equal to 0");
                return -EINVAL;
        }

        if (line->container_pidfile)
                conmon->pid_file = strdup(line->container_pidfile);
        else if (asprintf(&conmon->pid_file, "%s/pidfile-%s", conmon->cwd, line->cid) < 0)
                conmon->pid_file = NULL;
        return conmon->pid_file ? 0 : -ENOMEM;
}

static int on_write_spans(LoopDefer *defer) {
        Conmon *conmon = container_of(defer, Conmon, write_spans);

        trace_write(&conmon->trace);
        if (!conmon->line->exec)
                trim_memory();
        return 0;
}

/* Spans wait until everybody else has been served, and so does thrift. */
static void write_spans_soon(Conmon *conmon) {
        if (!conmon->ended)
                loop_defer(&conmon->write_spans, conmon->loop, on_write_spans);
}

static void on_rotated(void *userdata, const LogsRotation *rotation) {
        Conmon *conmon = userdata;

        trace_rotated(&conmon->trace, rotation);
        write_spans_soon(conmon);
}

static void on_lost(_unused_ void *userdata, const LogsLoss *loss) {
        report_warning("Failed to write to %s log: %s", loss->driver == LOGS_JOURNALD ? "journald" : "k8s-file",
                       strerrordesc_np(-loss->error));
}

static int open_logs(Conmon *conmon) {
        const ConmonLine *line = conmon->line;
        const LogsOptions options = {
                .paths = line->log_paths.words,
                .n_paths = line->log_paths.n,
                .id = line->cid,
                .name = line->name,
                .tag = line->log_tag,
                .labels = line->log_labels.words,
                .n_labels = line->log_labels.n,
                .size_max = line->log_size_max,
                .global_size_max = line->log_global_size_max,
                .rotate = line->log_rotate,
                .max_files = line->log_max_files,
                .allowlist_dirs = line->log_allowlist_dirs.words,
                .n_allowlist_dirs = line->log_allowlist_dirs.n,
                .no_partial_message = line->no_container_partial_message,
                .no_sync = line->no_sync_log || line->exec,
                .hooks = { .rotated = on_rotated, .lost = on_lost, .userdata = conmon },
        };
        _cleanup_free_ char *message = NULL;
        int r;

        r = logs_new(&options, &message, &conmon->logs);
        if (r < 0)
                report_error("%s", message ? message : strerrordesc_np(-r));
        else if (line->no_container_partial_message && !logs_has(conmon->logs, LOGS_JOURNALD))
                report_warning("--no-container-partial-message has no effect without journald log driver");
        return r;
}

static int become_monitor(Conmon *conmon) {
        int r;

        r = caller_open(&conmon->caller, conmon->line->exec_attach);
        if (r < 0)
                return r;

        /* The caller waits for the end of our output. */
        if (!logs_passthrough(conmon->logs)) {
                r = detach_stdio();
                if (r < 0)
                        return r;
        }
        (void) setsid();
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return set_up_failed(conmon, -errno, "Failed to set as subreaper: %s", strerrordesc_np(errno));
        return 0;
}

/* Reaps what the container left to us, but nothing the monitor waits for. */
static void reap(Conmon *conmon) {
        siginfo_t info;

        for (;;) {
                info.si_pid = 0;
                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 ||
                    monitor_wants(&conmon->monitor, info.si_pid))
                        return;
                (void) waitpid(info.si_pid, NULL, WNOHANG);
        }
}

static int on_signal(LoopSignal *source, const struct signalfd_siginfo *info) {
        Conmon *conmon = container_of(source, Conmon, signals);
        int sig = (int) info->ssi_signo;

        if (sig == SIGCHLD || monitor_forward(&conmon->monitor, sig) == -ESRCH) {
                monitor_check(&conmon->monitor);
                reap(conmon);
        }
        return 0;
}

static void on_runtime_ended(void *userdata, int status, const Clk *at) {
        Conmon *conmon = userdata;

        conmon->runtime_status = status;
        conmon->runtime_ended = *at;
}

static void on_created(void *userdata, pid_t pid) {
        Conmon *conmon = userdata;

        report_debug("container PID: %d", (int) pid);

        /* The older exec API has one message only, the exit code. */
        if (conmon->line->api_version || !conmon->line->exec)
                (void) caller_tell(&conmon->caller, (int) pid, NULL, 0);

        trace_created(&conmon->trace, pid);
        trace_runtime_ended(&conmon->trace, conmon->runtime_status, &conmon->runtime_ended, /* failed= */ false, NULL,
                            0);
        write_spans_soon(conmon);
}

static void on_failed(void *userdata, int status, const char *text, size_t len) {
        Conmon *conmon = userdata;

        if (len > 0)
                report_warning("runtime stderr: %.*s", (int) len, text);
        (void) caller_tell(&conmon->caller, -1, text, len);
        report_error("Failed to create container: exit status %d", exitstatus_code(status));
        trace_runtime_ended(&conmon->trace, status, &conmon->runtime_ended, /* failed= */ true, text, len);

        conmon->exit_code = EXIT_FAILURE;
        loop_exit(conmon->loop, 0);
}

static void write_oom_file(const char *dir) {
        char path[PATH_MAX];
        int fd, n;

        if (!dir || dir[0] == '\0')
                return;

        n = snprintf(path, sizeof(path), "%s/oom", dir);
        fd = n < (int) sizeof(path) ? open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
        if (fd < 0)
                report_warning("Failed to write oom file to the %s path", dir);
        (void) close_fd(fd);
}

static void on_oom(void *userdata) {
        Conmon *conmon = userdata;

        report_info("OOM received");
        write_oom_file(conmon->line->persist_dir);
        write_oom_file(conmon->bundle);
}

static void on_ended(void *userdata, const MonitorEnd *end) {
        Conmon *conmon = userdata;

        if (end->timed_out)
                report_info("Timed out, killing main loop");
        else if (end->code < 0)
                report_warning("container exited with an unknown status: its process was no child of this monitor");
        else if (end->code != 0)
                report_info("container exited with status %d", end->code);

        conmon->ended = true;
        conmon->end = *end;
        conmon->exit_code = end->code;
        loop_exit(conmon->loop, 0);
}

static void on_attach_ended(void *userdata, const AttachRecord *record) {
        Conmon *conmon = userdata;

        if (!conmon->ended) {
                trace_attached(&conmon->trace, record);
                write_spans_soon(conmon);
        } else if (conmon->n_attached < ARRAY_SIZE(conmon->attached)) {
                conmon->attached[conmon->n_attached++] = *record;
        }
}

static void on_tidy(_unused_ void *userdata) {
        trim_memory();
}

static void on_reopened(_unused_ void *userdata, int error) {
        if (error < 0)
                report_warning("Failed to reopen log file: %s", strerrordesc_np(-error));
}

/* The short way to the bundle that attaching takes where a socket's address would be too long. */
static int link_bundle(Conmon *conmon) {
        const ConmonLine *line = conmon->line;
        size_t max = sizeof(((struct sockaddr_un *) 0)->sun_path);

        if (!conmon->bundle || line->full_attach || logs_passthrough(conmon->logs))
                return 0;
        if (asprintf(&conmon->link, "%s/%s", line->socket_dir_path, line->cuuid ? line->cuuid : "") < 0) {
                conmon->link = NULL;
                return set_up_failed(conmon, -ENOMEM, "Failed to set up: %s", strerrordesc_np(ENOMEM));
        }

        /* A link as long as an address could not be connected to; its readers know that it is one shorter then. */
        if (strlen(conmon->link) == max - 1)
                conmon->link[max - 2] = '\0';

        if ((unlink(conmon->link) < 0 && errno != ENOENT) || symlink(conmon->bundle, conmon->link) < 0) {
                int error = set_up_failed(conmon, -errno, "Failed to create symlink for socket directory %s: %s",
                                          conmon->link, strerrordesc_np(errno));

                free(TAKE_PTR(conmon->link));
                return error;
        }
        return 0;
}

static void find_cause(Conmon *conmon) {
        const ConmonLine *line = conmon->line;
        const TraceOptions options = {
                .producer = COUNTERS_CONMON,
                .service = CONMON_SERVICE,
                .runtime = &conmon->runtime,
                .envp = conmon->envp,
                .began = conmon->began,
                .admitted = conmon->admitted,
        };

        conmon->runtime = (RuntimeArgs){
                .verb = line->exec      ? RUNTIME_EXEC
                        : line->restore ? RUNTIME_RESTORE
                                        : RUNTIME_CREATE,
                .runtime = line->runtime,
                .id = line->cid,
                .bundle = conmon->bundle,
                .pid_file = conmon->pid_file,
                .process_spec = line->exec_process_spec,
                .checkpoint = line->restore,
                .globals = line->runtime_args.words,
                .n_globals = line->runtime_args.n,
                .options = line->runtime_opts.words,
                .n_options = line->runtime_opts.n,
                .systemd_cgroup = line->systemd_cgroup,
                .no_pivot = line->no_pivot,
                .no_new_keyring = line->no_new_keyring,
        };
        /* CRI-O executes through us for ExecSync only, which is what probes are. */
        if (trace_init(&conmon->trace, &options))
                conmon->trace.probe = line->exec && (!line->api_version || healthcheck_process(conmon->caller_pid));
}

static int set_up(Conmon *conmon) {
        const ConmonLine *line = conmon->line;
        const MonitorOptions options = {
                .runtime = conmon->runtime,
                .bundle = conmon->bundle,
                .console_dir = getenv("TMPDIR") ?: "/tmp",
                .notify_host = line->sdnotify_socket,
                .terminal = line->terminal,
                .has_stdin = line->has_stdin,
                .leave_stdin_open = line->leave_stdin_open,
                .usage = conmon->trace.on && !line->exec,
                .timeout_ns = line->timeout > 0 ? (uint64_t) line->timeout * NSEC_PER_SEC : 0,
                .gate_fd = line->exec_attach ? conmon->caller.start_fd : -EBADF,
                .mask = &conmon->mask,
                .default_sigpipe = conmon->default_sigpipe,
                .oom_score_adj = conmon->oom_score,
                .replace_listen_pid = line->replace_listen_pid,
                .hooks = {
                        .runtime_ended = on_runtime_ended,
                        .created = on_created,
                        .failed = on_failed,
                        .oom = on_oom,
                        .ended = on_ended,
                        .reopened = on_reopened,
                        .attach_ended = on_attach_ended,
                        .tidy = on_tidy,
                        .userdata = conmon,
                },
        };
        static const struct sigaction def = { .sa_handler = SIG_DFL };
        const char *what = "Failed to set up";
        sigset_t set;
        int r;

        r = link_bundle(conmon);
        if (r < 0)
                return r;

        /* An ignored SIGCHLD, inherited, would let nobody wait for anything. */
        (void) sigaction(SIGCHLD, &def, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGQUIT);

        r = loop_new(&conmon->loop);
        if (r == 0)
                r = loop_signal_add(&conmon->signals, conmon->loop, &set, on_signal);
        if (r == 0)
                r = monitor_init(&conmon->monitor, conmon->loop, conmon->logs, &options, &what);
        if (r < 0)
                return set_up_failed(conmon, r, "%s: %s (bundle %s; terminals' sockets in %s)", what,
                                     strerrordesc_np(-r), conmon->bundle ? conmon->bundle : "none",
                                     options.console_dir);
        return 0;
}

static int call_runtime(Conmon *conmon) {
        _cleanup_free_ char **environment = NULL;
        int r;

        if (conmon->line->exec_attach && conmon->bundle && !logs_passthrough(conmon->logs)) {
                r = caller_tell_attach(&conmon->caller);
                if (r < 0)
                        return r;
        }

        environment = trace_environment(&conmon->trace);
        r = monitor_start(&conmon->monitor, environment ? environment : conmon->envp);
        if (r < 0)
                return set_up_failed(conmon, r, "Failed to fork the create command: %s", strerrordesc_np(-r));
        conmon->runtime_called = true;
        trace_runtime_called(&conmon->trace, conmon->monitor.runtime_pid);

        caller_started(&conmon->caller);
        return logs_passthrough(conmon->logs) ? detach_stdio() : 0;
}

/* The container has ended: tells everybody who waits for that, in the order in which they rely on it. */
static void tell_end(Conmon *conmon) {
        static const char timed_out[] = "command timed out", unknown[] = "exit status is not known";
        const ConmonLine *line = conmon->line;
        const char *text = conmon->end.timed_out ? timed_out : conmon->end.code < 0 ? unknown : NULL;
        int r = 0;

        /* Ports are free for the next container before anybody can know that this one has ended. */
        inherited_close(conmon->caller.inherited, conmon->caller.sync_fd);
        monitor_disconnect(&conmon->monitor);

        if (line->persist_dir)
                r = exitstep_write_file(conmon->loop, line->persist_dir, "exit", conmon->end.code);
        if (line->exit_dir) {
                int r2 = exitstep_write_file(conmon->loop, line->exit_dir, line->cid, conmon->end.code);

                r = r < 0 ? r : r2;
        }
        if (line->exec)
                (void) caller_tell(&conmon->caller, conmon->end.code, text, text ? strlen(text) : 0);
        if (r < 0)
                conmon->exit_code = EXIT_FAILURE;

        if (conmon->bundle && !logs_passthrough(conmon->logs)) {
                char path[PATH_MAX];

                (void) snprintf(path, sizeof(path), "%s/attach", conmon->bundle);
                (void) unlink(path);
        }
}

/* Returns the exit command's pid, or 0 where there is none. */
static pid_t start_exit_command(Conmon *conmon) {
        const ConmonLine *line = conmon->line;
        const ExitCommand command = {
                .path = line->exit_command,
                .args = line->exit_command_args.words,
                .n_args = line->exit_command_args.n,
                .mask = &conmon->mask,
                .default_sigpipe = conmon->default_sigpipe,
                .oom_score_adj = conmon->oom_score,
        };
        pid_t pid;

        if (!line->exit_command)
                return 0;
        if (line->exit_delay > 0)
                exitstep_pass_time(conmon->loop, (uint64_t) line->exit_delay * NSEC_PER_SEC);

        pid = exitstep_start_command(&command);
        if (pid < 0)
                report_error("Failed to start exit command: %s", strerrordesc_np(-pid));
        return pid;
}

static void tell_attached(Conmon *conmon) {
        for (size_t i = 0; i < conmon->n_attached; i++)
                trace_attached(&conmon->trace, &conmon->attached[i]);
        conmon->n_attached = 0;
        trace_write(&conmon->trace);
}

static void tell_trace(Conmon *conmon) {
        if (conmon->ended)
                trace_ended(&conmon->trace, &conmon->monitor, &conmon->end);
        tell_attached(conmon);
}

/* What is left to be told. Who waits for the end of this process does not wait for that. */
static void write_last_spans(Conmon *conmon) {
        pid_t pid;

        if (!conmon->trace.on || (conmon->ended && trace_quiet(&conmon->trace, &conmon->end)))
                return;
        if (!conmon->line->sync) {
                tell_trace(conmon);
                return;
        }

        pid = fork();
        if (pid == 0) {
                conmon->caller.sync_fd = close_fd(conmon->caller.sync_fd);
                tell_trace(conmon);
                _exit(EXIT_SUCCESS);
        }
}

/* Everything up to the point from which there is a container to care for. */
static int start(Conmon *conmon) {
        static const struct sigaction ignore = { .sa_handler = SIG_IGN };
        const ConmonLine *line = conmon->line;
        struct sigaction old;

        if (check_line(line) < 0 || find_paths(conmon) < 0 || open_logs(conmon) < 0)
                return -EINVAL;

        conmon->oom_score = runtimecall_oom_score(OOM_SCORE);
        (void) sigprocmask(SIG_SETMASK, NULL, &conmon->mask);
        conmon->default_sigpipe = sigaction(SIGPIPE, &ignore, &old) == 0 && old.sa_handler == SIG_DFL;

        if (caller_wait(&conmon->caller, line->exec_attach) < 0)
                return -EINVAL;
        conmon->admitted = clk_now();
        if ((!line->sync && detach_process(line->conmon_pidfile) < 0) || become_monitor(conmon) < 0)
                return -EINVAL;

        find_cause(conmon);
        return 0;
}

/*
 * Spans, and the output that those who are attached lack: when everybody has been told. The spans do not wait for the
 * attached, but where another process writes them, which can be done once only.
 */
static void finish(Conmon *conmon) {
        if (!conmon->line->sync)
                write_last_spans(conmon);
        if (conmon->ended)
                monitor_serve_last(&conmon->monitor);
        if (conmon->line->sync)
                write_last_spans(conmon);
        else if (conmon->n_attached > 0)
                tell_attached(conmon);
}

static void run(Conmon *conmon) {
        /* The exit command is not to wait for anybody, nor they for the time it is given. */
        bool finish_first = conmon->line->exit_command && conmon->line->exit_delay > 0;
        pid_t command = 0;

        if (set_up(conmon) == 0 && call_runtime(conmon) == 0)
                (void) loop_run(conmon->loop);

        if (conmon->ended)
                tell_end(conmon);
        if (finish_first)
                finish(conmon);
        if (conmon->runtime_called)
                command = start_exit_command(conmon);
        if (!finish_first)
                finish(conmon);
        if (conmon->ended && logs_sync(conmon->logs) < 0)
                report_warning("Failed to sync log file");
        if (command > 0 && exitstep_wait_command(command) != 0)
                report_warning("Exit command failed");
}

int conmon_run(const ConmonLine *line, char *const *envp, Inherited *inherited) {
        static Conmon conmon; /* large: what is not used of it is never touched */

        assert(line);
        assert(inherited);

        conmon.began = clk_now();
        conmon.line = line;
        conmon.envp = envp;
        conmon.caller = (Caller) CALLER_NULL;
        conmon.caller.key = caller_key(line->api_version, line->exec);
        conmon.caller.inherited = inherited;
        conmon.signals = (LoopSignal) LOOP_SIGNAL_NULL;
        conmon.caller_pid = getppid();
        conmon.exit_code = EXIT_FAILURE;

        (void) umask(0022);
        log_setup(CONMON_SERVICE, LOG_LEVEL_ERROR);
        if (start(&conmon) == 0)
                run(&conmon);
        conmon_deinit(&conmon);
        return conmon.exit_code;
}
