#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "atomicfile.h"
#include "exitstatus.h"
#include "monitor.h"
#include "runtimecall.h"

#define STATUS_UNKNOWN (-1) /* no wait status: neither an exit nor a signal */

#define OUTCOME_TEXT_MAX 512

static void on_drained(void *userdata) {
        Monitor *monitor = userdata;

        pump_resume(&monitor->pump);
}

static void on_attach_ended(void *userdata, const AttachRecord *record) {
        const MonitorHooks *hooks = &((Monitor *) userdata)->options.hooks;

        if (hooks->attach_ended)
                hooks->attach_ended(hooks->userdata, record);
}

static void on_tidy(Pump *pump) {
        const MonitorHooks *hooks = &container_of(pump, Monitor, pump)->options.hooks;

        if (hooks->tidy)
                hooks->tidy(hooks->userdata);
}

static void on_control(Fifos *fifos, const CtlLine *line) {
        Monitor *monitor = container_of(fifos, Monitor, fifos);
        const MonitorHooks *hooks = &monitor->options.hooks;
        Clk now;
        int r;

        if (line->type == CTL_RESIZE) {
                monitor->height = line->height;
                monitor->width = line->width;
                if (monitor->console_fd >= 0)
                        (void) console_resize(monitor->console_fd, line->height, line->width);
                return;
        }

        if (monitor->state == MONITOR_ENDED)
                return;
        now = clk_now();
        r = logs_reopen(monitor->logs, &now);
        if (hooks->reopened)
                hooks->reopened(hooks->userdata, r);
}

static int on_console(Console *console, int fd) {
        Monitor *monitor = container_of(console, Monitor, console);
        int input_fd, r;

        if (fd < 0)
                return 0;

        (void) console_set_up(fd);
        if (monitor->height > 0 && monitor->width > 0)
                (void) console_resize(fd, monitor->height, monitor->width);
        monitor->console_fd = fd;

        input_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (input_fd >= 0)
                (void) attach_set_stdin(monitor->attach, input_fd);

        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return 0;
        r = pump_add(&monitor->pump, LOGS_STDOUT, fd, /* tty= */ true);
        return r < 0 ? r : 0;
}

static void on_oom(OomWatch *watch) {
        Monitor *monitor = container_of(watch, Monitor, oom_watch);
        const MonitorHooks *hooks = &monitor->options.hooks;

        if (watch->killed) {
                Clk now = clk_now();

                oomvictim_kill(&monitor->oom_victim, &now);
        }
        if (hooks->oom)
                hooks->oom(hooks->userdata);
}

/* A pipe for one of the container's streams: @ret_ours for us, @ret_theirs for the runtime. */
static int make_pipe(bool input, int *ret_ours, int *ret_theirs) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ret_ours = fds[input ? 1 : 0];
        *ret_theirs = fds[input ? 0 : 1];
        return 0;
}

static int open_output(Monitor *monitor, LogsStream stream, int *ret_theirs) {
        int ours = -EBADF, r;

        r = make_pipe(false, &ours, ret_theirs);
        return r < 0 ? r : pump_add(&monitor->pump, stream, ours, /* tty= */ false);
}

static int open_streams(Monitor *monitor, const char **ret_what) {
        const MonitorOptions *options = &monitor->options;
        int ours = -EBADF, r;

        if (options->terminal) {
                *ret_what = "Failed to create socket for the terminal";
                r = console_listen(&monitor->console, monitor->loop, options->console_dir, on_console);
                if (r < 0)
                        return r;
        } else if (options->has_stdin && !logs_passthrough(monitor->logs)) {
                *ret_what = "Failed to create !terminal stdin pipe";
                r = make_pipe(true, &ours, &monitor->runtime_stdin);
                if (r == 0)
                        r = attach_set_stdin(monitor->attach, ours);
                if (r < 0)
                        return r;
        } else {
                attach_close_stdin(monitor->attach);
        }

        if (logs_passthrough(monitor->logs))
                return 0;

        /* Also with a terminal: what the runtime says before there is one. */
        *ret_what = "Failed to create stderr pipe";
        r = open_output(monitor, LOGS_STDERR, &monitor->runtime_stderr);
        if (r < 0 || options->terminal)
                return r;

        *ret_what = "Failed to create !terminal stdout pipe";
        return open_output(monitor, LOGS_STDOUT, &monitor->runtime_stdout);
}

static int open_bundle(Monitor *monitor, const char **ret_what) {
        const MonitorOptions *options = &monitor->options;
        _cleanup_close_ int dir_fd = -EBADF;
        int r;

        if (!options->bundle)
                return 0;

        *ret_what = "Failed to open bundle";
        dir_fd = open(options->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;

        if (options->notify_host) {
                *ret_what = "Failed to create notify socket";
                r = notifyproxy_open(&monitor->notify, monitor->loop, dir_fd, options->notify_host);
                if (r < 0)
                        return r;
        }
        if (logs_passthrough(monitor->logs))
                return 0;

        *ret_what = "Failed to bind attach socket";
        r = attach_listen(monitor->attach, dir_fd);
        if (r < 0)
                return r;
        *ret_what = "Failed to make control FIFOs";
        return fifos_open(&monitor->fifos, monitor->loop, dir_fd, on_control);
}

int monitor_init(Monitor *monitor, Loop *loop, Logs *logs, const MonitorOptions *options, const char **ret_what) {
        const AttachHooks hooks = { .drained = on_drained, .ended = on_attach_ended, .userdata = monitor };
        const AttachOptions attach = {
                .has_stdin = options->has_stdin,
                .leave_stdin_open = options->leave_stdin_open,
        };
        int r;

        assert(monitor);
        assert(ret_what);

        *monitor = (Monitor){
                .loop = loop,
                .logs = logs,
                .options = *options,
                .console = CONSOLE_NULL,
                .fifos = FIFOS_NULL,
                .notify = NOTIFYPROXY_NULL,
                .oom_watch = OOMWATCH_NULL,
                .oom_victim = OOMVICTIM_NULL,
                .timeout = LOOP_TIMER_NULL,
                .container_source = LOOP_SOURCE_NULL,
                .container_fd = -EBADF,
                .runtime_stdin = -EBADF,
                .runtime_stdout = -EBADF,
                .runtime_stderr = -EBADF,
                .null_fd = -EBADF,
                .console_fd = -EBADF,
                .facts = VERDICT_FACTS_NONE,
        };

        *ret_what = "Failed to set up";
        monitor->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (monitor->null_fd < 0)
                return -errno;
        r = attach_new(loop, &attach, &hooks, &monitor->attach);
        if (r == 0)
                r = pump_init(&monitor->pump, loop, logs, monitor->attach, on_tidy);
        if (r == 0)
                r = open_streams(monitor, ret_what);
        return r < 0 ? r : open_bundle(monitor, ret_what);
}

static void close_runtime_ends(Monitor *monitor) {
        monitor->runtime_stdin = close_fd(monitor->runtime_stdin);
        monitor->runtime_stdout = close_fd(monitor->runtime_stdout);
        monitor->runtime_stderr = close_fd(monitor->runtime_stderr);
}

void monitor_deinit(Monitor *monitor) {
        if (!monitor->loop)
                return;

        close_runtime_ends(monitor);
        pump_deinit(&monitor->pump);
        monitor->attach = attach_free(monitor->attach);
        console_deinit(&monitor->console);
        fifos_close(&monitor->fifos);
        notifyproxy_close(&monitor->notify);
        oomwatch_stop(&monitor->oom_watch);
        oomvictim_deinit(&monitor->oom_victim);
        loop_timer_remove(&monitor->timeout);
        loop_source_remove(&monitor->container_source);
        monitor->container_fd = close_fd(monitor->container_fd);
        monitor->console_fd = close_fd(monitor->console_fd);
        monitor->null_fd = close_fd(monitor->null_fd);
}

int monitor_start(Monitor *monitor, char *const *envp) {
        const MonitorOptions *options = &monitor->options;
        bool passthrough = logs_passthrough(monitor->logs);
        _cleanup_free_ char **argv = NULL;
        RuntimeCall call = {
                .envp = envp,
                .stdin_fd = passthrough ? -EBADF : monitor->null_fd,
                .stdout_fd = passthrough ? -EBADF : monitor->null_fd,
                .stderr_fd = passthrough ? -EBADF : monitor->null_fd,
                .gate_fd = options->gate_fd,
                .mask = options->mask,
                .default_sigpipe = options->default_sigpipe,
                .oom_score_adj = options->oom_score_adj,
                .replace_listen_pid = options->replace_listen_pid,
        };
        int r;

        assert(monitor->state == MONITOR_NEW);

        r = runtimeargs_build(&options->runtime, monitor->console.path[0] != '\0' ? monitor->console.path : NULL,
                              &argv);
        if (r < 0)
                return r;
        call.argv = argv;

        if (monitor->runtime_stdin >= 0) {
                call.stdin_fd = monitor->runtime_stdin;
                call.stdin_pipe = true;
        }
        if (monitor->runtime_stdout >= 0) {
                call.stdout_fd = monitor->runtime_stdout;
                call.stdout_pipe = true;
        }
        if (monitor->runtime_stderr >= 0) {
                call.stderr_fd = monitor->runtime_stderr;
                call.stderr_pipe = true;
        }

        r = runtimecall_start(&call, &monitor->runtime_pid);
        if (r < 0)
                return r;
        close_runtime_ends(monitor);
        monitor->state = MONITOR_CREATING;
        return 0;
}

static void fail(Monitor *monitor, const char *text, size_t len) {
        const MonitorHooks *hooks = &monitor->options.hooks;

        monitor->state = MONITOR_FAILED;
        hooks->failed(hooks->userdata, monitor->runtime_status, text, len);
}

/* The runtime's words, else @text. */
static void fail_with_words(Monitor *monitor, const char *text) {
        const char *words;
        size_t len;

        pump_fill(&monitor->pump, LOGS_STDERR);
        words = pump_held(&monitor->pump, LOGS_STDERR, &len);
        /* conmon's limit, and a C string's. */
        if (len > 0)
                len = strnlen(words, MIN(len, (size_t) MONITOR_TEXT_MAX));
        if (len > 0)
                fail(monitor, words, len);
        else
                fail(monitor, text, strlen(text));
}

static void end(Monitor *monitor, int status, bool timed_out, bool never_ran) {
        const MonitorHooks *hooks = &monitor->options.hooks;
        const OomWatch *watch = &monitor->oom_watch;
        MonitorEnd e = {
                .code = exitstatus_code(status),
                .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                .timed_out = timed_out,
                .never_ran = never_ran,
                .at = clk_now(),
        };

        monitor->state = MONITOR_ENDED;
        loop_source_remove(&monitor->container_source);
        (void) loop_timer_stop(&monitor->timeout);

        /* The cgroup may be gone in a moment. */
        oomwatch_check(&monitor->oom_watch);
        e.oom = oomvictim_end(&monitor->oom_victim, e.signal);
        if (monitor->options.usage) {
                oomwatch_usage(watch, &monitor->usage);
                exitfacts_read_counts(watch->dir_fd, watch->cpu_fd, watch->unified, &monitor->facts);
                if (e.oom)
                        exitfacts_read_scope(watch->dir_fd, watch->unified, &monitor->facts);
        }

        pump_finish(&monitor->pump, /* take= */ !timed_out);
        notifyproxy_drain(&monitor->notify);
        hooks->ended(hooks->userdata, &e);
}

static int on_timeout(LoopTimer *timer) {
        Monitor *monitor = container_of(timer, Monitor, timeout);
        pid_t group;

        /* One that ended at the same moment ended by itself. */
        monitor_check(monitor);
        if (monitor->state != MONITOR_RUNNING)
                return 0;

        group = getpgid(monitor->container_pid);
        /* Neither everybody nor ourselves. */
        (void) kill(group > 1 && group != getpgrp() ? -group : monitor->container_pid, SIGKILL);
        end(monitor, STATUS_UNKNOWN, /* timed_out= */ true, /* never_ran= */ false);
        return 0;
}

static int on_container(LoopSource *source, _unused_ uint32_t events) {
        Monitor *monitor = container_of(source, Monitor, container_source);

        monitor_check(monitor);
        if (monitor->state != MONITOR_RUNNING)
                return 0;

        /* Ended, and not our child: nobody tells how. */
        end(monitor, STATUS_UNKNOWN, /* timed_out= */ false, /* never_ran= */ false);
        return 0;
}

/* The runtime is done and says that there is a container. */
static void run(Monitor *monitor) {
        const MonitorOptions *options = &monitor->options;
        int r;

        monitor->state = MONITOR_RUNNING;
        options->hooks.created(options->hooks.userdata, monitor->container_pid);

        (void) oomvictim_init(&monitor->oom_victim, monitor->loop, monitor->container_pid);
        (void) oomwatch_start(&monitor->oom_watch, monitor->loop, monitor->container_pid,
                              options->runtime.verb != RUNTIME_EXEC, on_oom);
        pump_release(&monitor->pump);
        pump_forget(&monitor->pump);

        if (options->timeout_ns > 0 && loop_timer_add(&monitor->timeout, monitor->loop, on_timeout) == 0)
                (void) loop_timer_set(&monitor->timeout, options->timeout_ns, 0);

        r = loop_pidfd_add(&monitor->container_source, monitor->loop, monitor->container_pid, on_container,
                           &monitor->container_fd);
        /* Without pidfds (before Linux 5.3) SIGCHLD is all there is. */
        monitor_check(monitor);
        if (r == -ESRCH && monitor->state == MONITOR_RUNNING)
                end(monitor, STATUS_UNKNOWN, /* timed_out= */ false, /* never_ran= */ false);
}

static void runtime_ended(Monitor *monitor, int status) {
        const MonitorOptions *options = &monitor->options;
        char text[OUTCOME_TEXT_MAX];
        Clk now = clk_now();
        int r;

        monitor->runtime_pid = 0;
        monitor->runtime_status = status;
        if (options->hooks.runtime_ended)
                options->hooks.runtime_ended(options->hooks.userdata, status, &now);

        /* An exec's runtime may end as its command did; only the missing pid tells that there was none. */
        if (options->runtime.verb != RUNTIME_EXEC && status != 0)
                return fail_with_words(monitor, "");

        if (options->terminal) {
                if (monitor->console_fd < 0)
                        (void) console_check(&monitor->console);
                console_deinit(&monitor->console);
                if (monitor->console_fd < 0 && (options->runtime.verb != RUNTIME_EXEC || status == 0)) {
                        static const char none[] = "Runtime did not set up terminal";

                        return fail(monitor, none, sizeof(none) - 1);
                }
        }

        r = atomicfile_read_pid(options->runtime.pid_file, &monitor->container_pid);
        if (r < 0) {
                (void) snprintf(text, sizeof(text), "Failed to open file \"%s\": %s", options->runtime.pid_file,
                                strerrordesc_np(-r));
                return fail_with_words(monitor, text);
        }

        run(monitor);
}

/* Has the container's process ended? */
static void reap(Monitor *monitor) {
        bool never_ran = false;
        siginfo_t info = {};
        int status;

        /* What it was can be asked until it is reaped. */
        if (monitor->options.usage) {
                if (waitid(P_PID, (id_t) monitor->container_pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
                    info.si_pid == 0)
                        return;
                never_ran = exitfacts_never_ran(monitor->container_pid);
        }
        if (waitpid(monitor->container_pid, &status, WNOHANG) > 0)
                end(monitor, status, /* timed_out= */ false, never_ran);
}

void monitor_check(Monitor *monitor) {
        int status;

        if (monitor->state == MONITOR_CREATING && waitpid(monitor->runtime_pid, &status, WNOHANG) > 0)
                runtime_ended(monitor, status);

        if (monitor->state == MONITOR_RUNNING)
                reap(monitor);
}

int monitor_forward(Monitor *monitor, int sig) {
        pid_t pid = monitor->state == MONITOR_RUNNING ? monitor->container_pid : monitor->runtime_pid;

        if (pid <= 0)
                return -ESRCH;
        return kill(pid, sig) < 0 ? -errno : 0;
}

bool monitor_wants(const Monitor *monitor, pid_t pid) {
        return monitor->state == MONITOR_CREATING ||
               (monitor->state == MONITOR_RUNNING && pid == monitor->container_pid);
}

void monitor_disconnect(Monitor *monitor) {
        assert(monitor->state != MONITOR_CREATING && monitor->state != MONITOR_RUNNING);

        pump_deinit(&monitor->pump);
        attach_end(monitor->attach);
}

void monitor_serve_last(Monitor *monitor) {
        attach_finish(monitor->attach);
}
