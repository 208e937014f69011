/*
 * The wrapped hook's standard input holds the state that says whose trace it belongs to, and its environment is to hold
 * that trace. So the state is read first: from a pipe, which is what runtimes use, by taking the bytes out and handing
 * on every one of them through a second pipe; from a file, beside its offset. Of anything else nothing is known, and it
 * is left alone. A pipe that stays silent holds the hook back for WRAP_INPUT_TIMEOUT_NS at most.
 *
 * Where nobody wants spans, this process becomes the hook.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include "child.h"
#include "clk.h"
#include "envcarrier.h"
#include "exitstatus.h"
#include "filelimit.h"
#include "hook.h"
#include "log.h"
#include "origin.h"
#include "relay.h"
#include "wrap.h"

#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

typedef struct Wrap {
        Session session;
        State state;
        bool has_state;
        Origin origin;
        Span *span; /* NULL: nobody wants spans */
        Relay relay;
        int child_stdin; /* -EBADF: as inherited */
        Child child;
        const char *executable;
} Wrap;

#define WRAP_NULL \
        { .session = SESSION_NULL, .relay = RELAY_NULL, .child_stdin = -EBADF, .child = CHILD_NULL }

static void wrap_deinit(Wrap *wrap) {
        wrap->span = span_free(wrap->span);
        relay_deinit(&wrap->relay);
        wrap->child_stdin = close_fd(wrap->child_stdin);
        child_deinit(&wrap->child);
        session_deinit(&wrap->session);
}

/* The text, and the exit code, of a command that cannot be executed. */
static int exec_failed(const char *command, int error) {
        log_setup("podspan-hook", LOG_LEVEL_INFO);
        log_error("%s: %s", command, strerror(error));
        return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static int become(const Options *options, char *const *envp) {
        filelimit_restore();
        if (strchr(options->argv[0], '/'))
                (void) execve(options->argv[0], options->argv, envp);
        else
                (void) execvpe(options->argv[0], options->argv, envp);
        return exec_failed(options->argv[0], errno);
}

/* What is taken out of the pipe has to be handed on, so the second one is made first. */
static void read_pipe(Wrap *wrap, const char *link_keys) {
        if (relay_init(&wrap->relay, STDIN_FILENO, &wrap->child_stdin) < 0)
                return;

        wrap->has_state =
                input_read_keep(STDIN_FILENO, WRAP_INPUT_TIMEOUT_NS, link_keys, &wrap->state, &wrap->relay.input) == 1;
}

/* Reads a file without moving its offset, which the hook shares. */
static void read_file(Wrap *wrap, const char *link_keys) {
        _cleanup_(state_parser_freep) StateParser *parser = NULL;
        off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
        uint8_t buffer[4096];
        int r = 0;

        parser = state_parser_new(&wrap->state, link_keys);
        if (!parser || at < 0)
                return;

        while (r == 0) {
                ssize_t n = pread(STDIN_FILENO, buffer, sizeof(buffer), at);

                if (n <= 0)
                        break;
                at += n;
                r = state_parser_feed(parser, buffer, (size_t) n);
        }
        wrap->has_state = r == 1;
}

static void read_state(Wrap *wrap) {
        const char *link_keys = wrap->session.config.link_annotations;
        struct stat st;

        if (fstat(STDIN_FILENO, &st) < 0)
                return;
        if (S_ISFIFO(st.st_mode))
                read_pipe(wrap, link_keys);
        else if (S_ISREG(st.st_mode))
                read_file(wrap, link_keys);
}

static int make_span(Wrap *wrap, const Options *options, char *const *envp, uint64_t now_ns) {
        const State *state = wrap->has_state ? &wrap->state : NULL;
        int r;

        r = origin_find(&wrap->session, state, options->stage, envp, now_ns, &wrap->origin);
        if (r < 0)
                return r;

        r = origin_span(&wrap->origin, state, options->name && *options->name ? options->name : wrap->executable,
                        &wrap->origin.parent, &wrap->span);
        if (r < 0)
                return r;

        span_attr_str(wrap->span, "process.executable.name", wrap->executable);
        span_attr_str(wrap->span, "oci.hook.stage", stage_name(options->stage));
        return 0;
}

/* Nobody but the hook is to hold its output open, or its input. */
static void let_go_of_stdio(const Wrap *wrap) {
        _cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int i = STDIN_FILENO; fd >= 0 && i <= STDERR_FILENO; i++)
                if (i != STDIN_FILENO || !relay_active(&wrap->relay))
                        (void) dup3(fd, i, O_CLOEXEC);
}

/* Waits for the end of the hook and serves it until then. Returns 0 with its status in @ret, or a negative errno. */
static int follow(Wrap *wrap, siginfo_t *ret) {
        for (;;) {
                struct pollfd fds[3] = { { .fd = wrap->child.signal_fd, .events = POLLIN } };
                int r;

                relay_poll(&wrap->relay, &fds[1], &fds[2]);
                if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }

                if (fds[0].revents) {
                        r = child_run(&wrap->child, ret);
                        if (r != 0)
                                return r < 0 ? r : 0;
                }
                relay_run(&wrap->relay, &fds[1], &fds[2]);
        }
}

static volatile sig_atomic_t last_resort_code;

/* As in main(): a span that cannot be written must not hold up what the hook has already decided. */
static void on_alarm(_unused_ int sig) {
        _exit(last_resort_code);
}

static void bound_time(const siginfo_t *info) {
        static const struct itimerval last_resort = { .it_value = { .tv_sec = 1 } };
        struct sigaction alarm = { .sa_handler = on_alarm };
        sigset_t set;

        last_resort_code = info->si_code == CLD_EXITED ? info->si_status : EXIT_NOT_FOUND + 1 + info->si_status;
        (void) sigaction(SIGALRM, &alarm, NULL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGALRM);
        (void) setitimer(ITIMER_REAL, &last_resort, NULL);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void span_ended(Span *span, const siginfo_t *info) {
        bool exited = info->si_code == CLD_EXITED;

        exitstatus_set(span, exited ? info->si_status : 128 + info->si_status, exited ? 0 : info->si_status, NULL);
}

static void span_not_started(Span *span, int error) {
        span_attr_str(span, "error.type", strerrorname_np(error));
        span_set_status(span, SPAN_STATUS_ERROR, strerror(error));
}

int wrap_run(const Options *options, char *const *envp, uint64_t now_ns) {
        _cleanup_(wrap_deinit) Wrap wrap = WRAP_NULL;
        _cleanup_free_ char **child_env = NULL;
        const char *slash;
        siginfo_t info;
        uint64_t end_ns;
        Clk start;
        int r;

        assert(options);
        assert(options->argv && options->argv[0]);

        r = session_init(&wrap.session, COUNTERS_HOOK, HOOK_SERVICE, options->config, options->state_dir);
        if (wrap.session.config_error)
                log_warning("%s: using the defaults", wrap.session.config_error);
        if (wrap.session.refusal)
                log_warning("%s", wrap.session.refusal);
        if (r <= 0)
                return become(options, envp);

        slash = strrchr(options->argv[0], '/');
        wrap.executable = slash ? slash + 1 : options->argv[0];

        read_state(&wrap);
        r = make_span(&wrap, options, envp, now_ns);
        if (r == 0)
                r = envcarrier_child(envp, span_context(wrap.span), wrap.origin.tracestate, &child_env);

        start = clk_now();
        r = child_start(&wrap.child, options->argv, child_env ? child_env : envp, wrap.child_stdin);
        wrap.child_stdin = close_fd(wrap.child_stdin);
        if (r != 0 && wrap.child.pid <= 0)
                return exec_failed(options->argv[0], -r);
        if (r > 0) {
                if (wrap.span) {
                        span_not_started(wrap.span, r);
                        span_set_time(wrap.span, start.realtime_ns, clk_end(&start, clk_monotonic()));
                        session_write(&wrap.session, &wrap.span, 1);
                }
                return exec_failed(options->argv[0], r);
        }

        let_go_of_stdio(&wrap);
        r = follow(&wrap, &info);
        end_ns = clk_end(&start, clk_monotonic());
        if (r < 0)
                return EXIT_FAILURE;

        /* The runtime waits for us from here on. */
        bound_time(&info);
        if (wrap.span) {
                span_attr_int(wrap.span, "process.pid", wrap.child.pid);
                span_ended(wrap.span, &info);
                span_set_time(wrap.span, start.realtime_ns, end_ns);
                session_write(&wrap.session, &wrap.span, 1);
        }
        child_imitate(&info);
}
