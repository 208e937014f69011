#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "monitor.h"
#include "runtimecall.h"

/*
 * A runtime whose container is a shell: what it does stands in the variables BEFORE, INSIDE and AFTER. The container
 * begins once the runtime has ended, which would else reap it, as shells do.
 */
#define RUNTIME                                                                    \
        "#!/bin/sh\n"                                                              \
        "while [ $# -gt 1 ]; do case $1 in --pid-file) P=$2;; esac; shift; done\n" \
        "eval \"$BEFORE\"\n"                                                       \
        "mkfifo $P.fifo\n"                                                         \
        "exec 9<&0\n"                                                              \
        "sh -c \"read end <$P.fifo; $INSIDE\" 0<&9 9<&- &\n"                       \
        "exec 8>$P.fifo\n"                                                         \
        "echo $! > $P\n"                                                           \
        "eval \"$AFTER\"\n"

typedef struct Fixture {
        char dir[64];
        char runtime[96];
        char pid_file[96];
        char log[112];
        Loop *loop;
        LoopSignal signals;
        sigset_t mask;
        Logs *logs;
        Monitor monitor;

        bool created;
        bool failed;
        bool ended;
        char text[MONITOR_TEXT_MAX + 1];
        size_t text_len;
        MonitorEnd end;
        AttachRecord attached;
} Fixture;

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type, _unused_ struct FTW *ftw) {
        return remove(path);
}

static int on_signal(LoopSignal *source, _unused_ const struct signalfd_siginfo *info) {
        Fixture *f = container_of(source, Fixture, signals);

        monitor_check(&f->monitor);
        return 0;
}

static void on_created(void *userdata, pid_t pid) {
        Fixture *f = userdata;

        assert_true(pid > 0);
        f->created = true;
}

static void on_failed(void *userdata, _unused_ int status, const char *text, size_t len) {
        Fixture *f = userdata;

        f->failed = true;
        f->text_len = len;
        memcpy(f->text, text, len);
        loop_exit(f->loop, 0);
}

static void on_ended(void *userdata, const MonitorEnd *end) {
        Fixture *f = userdata;

        f->ended = true;
        f->end = *end;
        loop_exit(f->loop, 0);
}

static void on_attach_ended(void *userdata, const AttachRecord *record) {
        ((Fixture *) userdata)->attached = *record;
}

static int setup(void **userdata) {
        Fixture *f = calloc(1, sizeof(*f));
        sigset_t set;
        int fd;

        assert_non_null(f);
        (void) snprintf(f->dir, sizeof(f->dir), "/tmp/test-monitor-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        (void) snprintf(f->runtime, sizeof(f->runtime), "%s/runtime", f->dir);
        (void) snprintf(f->pid_file, sizeof(f->pid_file), "%s/pid", f->dir);
        (void) snprintf(f->log, sizeof(f->log), "k8s-file:%s/log", f->dir);
        fd = open(f->runtime, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        assert_int_equal(write(fd, RUNTIME, sizeof(RUNTIME) - 1), sizeof(RUNTIME) - 1);
        (void) close(fd);

        assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        (void) sigprocmask(SIG_SETMASK, NULL, &f->mask);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        f->signals = (LoopSignal) LOOP_SIGNAL_NULL;
        assert_int_equal(loop_new(&f->loop), 0);
        assert_int_equal(loop_signal_add(&f->signals, f->loop, &set, on_signal), 0);
        *userdata = f;
        return 0;
}

static int teardown(void **userdata) {
        Fixture *f = *userdata;

        monitor_deinit(&f->monitor);
        f->logs = logs_free(f->logs);
        loop_signal_remove(&f->signals);
        f->loop = loop_free(f->loop);
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        assert_int_equal(nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
        free(f);
        return 0;
}

static void make(Fixture *f, const char *before, const char *inside, const char *after, MonitorOptions options) {
        LogsOptions logs = { .paths = (const char *const[]){ f->log }, .n_paths = 1, .id = "id", .max_files = 1 };
        _cleanup_free_ char *message = NULL;
        const char *what;

        assert_int_equal(setenv("BEFORE", before, 1), 0);
        assert_int_equal(setenv("INSIDE", inside, 1), 0);
        assert_int_equal(setenv("AFTER", after, 1), 0);
        assert_int_equal(logs_new(&logs, &message, &f->logs), 0);

        options.runtime.runtime = f->runtime;
        options.runtime.id = "id";
        options.runtime.bundle = f->dir;
        options.runtime.pid_file = f->pid_file;
        options.bundle = f->dir;
        options.gate_fd = -EBADF;
        options.mask = &f->mask;
        options.oom_score_adj = RUNTIMECALL_NO_SCORE;
        options.hooks = (MonitorHooks){
                .created = on_created,
                .failed = on_failed,
                .ended = on_ended,
                .attach_ended = on_attach_ended,
                .userdata = f,
        };
        assert_int_equal(monitor_init(&f->monitor, f->loop, f->logs, &options, &what), 0);
        assert_int_equal(monitor_start(&f->monitor, environ), 0);
}

static void run(Fixture *f, const char *before, const char *inside, const char *after, MonitorOptions options) {
        make(f, before, inside, after, options);
        assert_int_equal(loop_run(f->loop), 0);
}

/* The content of the log's records, of both streams. */
static char *read_log(Fixture *f, size_t *ret_len) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = open(strchr(f->log, '/'), O_RDONLY | O_CLOEXEC);
        size_t len, n = 0;
        char *content;

        assert_int_equal(util_read_fd(fd, 64 << 20, &text, &len), 0);
        content = malloc(len + 1);
        assert_non_null(content);
        for (size_t at = 0; at < len;) {
                const char *newline = memchr(text + at, '\n', len - at);
                size_t record = (size_t) (newline - (text + at)) + 1, size = record - 45;
                bool full = text[at + 43] == 'F';

                assert_non_null(newline);
                memcpy(content + n, text + at + 45, size);
                n += full ? size : size - 1;
                at += record;
        }
        content[n] = '\0';
        *ret_len = n;
        return content;
}

static void test_end(void **userdata) {
        _cleanup_free_ char *log = NULL;
        Fixture *f = *userdata;
        size_t len;

        run(f, "", "echo out; echo err >&2; printf rest; exit 7", "", (MonitorOptions){});
        assert_true(f->created && f->ended && !f->failed);
        assert_int_equal(f->end.code, 7);
        assert_int_equal(f->end.signal, 0);
        log = read_log(f, &len);
        assert_non_null(strstr(log, "out\n"));
        assert_non_null(strstr(log, "err\n"));
        assert_non_null(strstr(log, "rest"));
}

static void test_signal(void **userdata) {
        Fixture *f = *userdata;

        run(f, "", "kill -9 $$", "", (MonitorOptions){});
        assert_int_equal(f->end.code, 128 + SIGKILL);
        assert_int_equal(f->end.signal, SIGKILL);
}

static void test_failure(void **userdata) {
        Fixture *f = *userdata;

        run(f, "echo it cannot be >&2; exit 1", "", "", (MonitorOptions){});
        assert_true(f->failed && !f->created && !f->ended);
        assert_int_equal(f->text_len, 13);
        assert_memory_equal(f->text, "it cannot be\n", 13);
}

static void test_silent_failure(void **userdata) {
        Fixture *f = *userdata;

        run(f, "exit 1", "", "", (MonitorOptions){});
        assert_true(f->failed);
        assert_int_equal(f->text_len, 0);
}

/* A runtime that says more than a pipe holds must not wait for us to wait for it. */
static void test_talkative_runtime(void **userdata) {
        Fixture *f = *userdata;

        run(f, "head -c 300000 /dev/zero | tr '\\0' 'x' >&2; exit 1", "", "", (MonitorOptions){});
        assert_true(f->failed);
        assert_int_equal(f->text_len, MONITOR_TEXT_MAX);
}

static void test_talkative_runtime_succeeds(void **userdata) {
        _cleanup_free_ char *log = NULL;
        Fixture *f = *userdata;
        size_t len;

        run(f, "head -c 300000 /dev/zero | tr '\\0' 'x' >&2", "echo y; exit 3", "", (MonitorOptions){});
        assert_true(f->ended);
        assert_int_equal(f->end.code, 3);
        log = read_log(f, &len);
        assert_true(len >= 300000);
        assert_non_null(strchr(log, 'y'));
}

static void test_no_pid_file(void **userdata) {
        Fixture *f = *userdata;

        run(f, "", "exit 0", "rm $P", (MonitorOptions){ .runtime.verb = RUNTIME_EXEC });
        assert_true(f->failed && !f->created);
        f->text[f->text_len] = '\0';
        assert_non_null(strstr(f->text, "Failed to open file"));
}

/* An exec's runtime may end as its command did. */
static void test_exec_status(void **userdata) {
        Fixture *f = *userdata;

        run(f, "", "exit 5", "exit 5", (MonitorOptions){ .runtime.verb = RUNTIME_EXEC });
        assert_true(f->created && f->ended);
        assert_int_equal(f->end.code, 5);
}

static void test_everything_arrives(void **userdata) {
        _cleanup_free_ char *log = NULL;
        Fixture *f = *userdata;
        size_t len;

        run(f, "", "seq 1 200000", "", (MonitorOptions){});
        assert_int_equal(f->end.code, 0);
        log = read_log(f, &len);
        assert_int_equal(len, 1288895);
        assert_string_equal(log + len - 14, "199999\n200000\n");
}

/* Who keeps the pipe after the container's end is not waited for, and does not keep us busy. */
static void test_heirs(void **userdata) {
        Fixture *f = *userdata;

        run(f, "", "(trap '' HUP; exec yes) & sleep 0.1; exit 4", "", (MonitorOptions){});
        assert_true(f->ended);
        assert_int_equal(f->end.code, 4);
        monitor_disconnect(&f->monitor);
}

static void test_timeout(void **userdata) {
        Fixture *f = *userdata;

        run(f, "", "exec sleep 1000", "", (MonitorOptions){ .timeout_ns = 50 * NSEC_PER_MSEC });
        assert_true(f->ended && f->end.timed_out);
        assert_int_equal(f->end.code, -1);
}

/* A container whose process is nobody's child here: that it ended is seen, how it ended is not, and not said to be 0.
 */
static void test_unknown_end(void **userdata) {
        Fixture *f = *userdata;
        char after[256];
        pid_t holder;

        /* The shell in between keeps the container's process from becoming ours. */
        (void) snprintf(after, sizeof(after), "until [ -s %.64s/foreign ]; do sleep 0.01; done; cp %.64s/foreign $P",
                        f->dir, f->dir);
        holder = fork();
        assert_true(holder >= 0);
        if (holder == 0) {
                char script[512];

                (void) snprintf(script, sizeof(script),
                                "sleep 0.5 & echo $! >%.64s/part; mv %.64s/part %.64s/foreign; "
                                "exec sleep 1000",
                                f->dir, f->dir, f->dir);
                (void) execl("/bin/sh", "sh", "-c", script, NULL);
                _exit(EXIT_FAILURE);
        }
        run(f, "", "exit 0", after, (MonitorOptions){});
        assert_true(f->created && f->ended && !f->end.timed_out);
        assert_int_equal(f->end.code, -1);
        assert_int_equal(f->end.signal, 0);
        (void) kill(holder, SIGKILL);
        (void) waitpid(holder, NULL, 0);
}

static void test_forward(void **userdata) {
        Fixture *f = *userdata;

        make(f, "", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", "", (MonitorOptions){});
        while (!f->created || f->monitor.pump.streams[LOGS_STDOUT].reads == 0)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        assert_int_equal(monitor_forward(&f->monitor, SIGTERM), 0);
        assert_int_equal(loop_run(f->loop), 0);
        assert_int_equal(f->end.code, 9);
        assert_int_equal(monitor_forward(&f->monitor, SIGTERM), -ESRCH);
}

/* A pipe that its writer has filled is made larger, and what it was when there is no more. */
static void test_pipe_size(void **userdata) {
        _cleanup_free_ char *log = NULL;
        _cleanup_close_ int go = -EBADF;
        char inside[128], path[96];
        int fd, size, n = 0;
        Fixture *f = *userdata;
        size_t len;

        (void) snprintf(path, sizeof(path), "%s/go", f->dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        go = open(path, O_RDWR | O_CLOEXEC);
        (void) snprintf(inside, sizeof(inside), "read x <%.64s; seq 1 100000; exec sleep 1000", path);
        make(f, "", inside, "", (MonitorOptions){});
        while (!f->created)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        fd = f->monitor.pump.streams[LOGS_STDOUT].fd;
        size = fcntl(fd, F_GETPIPE_SZ);
        assert_true(size > 0);
        if (size != (int) PUMP_READ_MAX)
                skip(); /* this user has too many pipes */

        assert_int_equal(write(go, "\n", 1), 1);
        while (n < (int) PUMP_FULL) {
                assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
                (void) sched_yield();
        }
        while (fcntl(fd, F_GETPIPE_SZ) == size)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        assert_int_equal(fcntl(fd, F_GETPIPE_SZ), PUMP_PIPE_SIZE);
        while (fcntl(fd, F_GETPIPE_SZ) != size)
                assert_int_equal(loop_turn(f->loop, 1000), 0);

        log = read_log(f, &len);
        assert_int_equal(len, 588895);
        assert_int_equal(monitor_forward(&f->monitor, SIGKILL), 0);
        assert_int_equal(loop_run(f->loop), 0);
        assert_int_equal(f->end.signal, SIGKILL);
}

static int connect_to(Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/attach", f->dir);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

static void test_attached(void **userdata) {
        Fixture *f = *userdata;
        char packet[64];
        int fd;

        make(f, "", "read x; echo got $x", "", (MonitorOptions){ .has_stdin = true });
        fd = connect_to(f);
        assert_int_equal(send(fd, "line\n", 5, 0), 5);
        assert_int_equal(loop_run(f->loop), 0);
        monitor_disconnect(&f->monitor);
        assert_int_equal(recv(fd, packet, sizeof(packet), 0), 10);
        assert_memory_equal(packet, "\2got line\n", 10);
        assert_int_equal(recv(fd, packet, sizeof(packet), 0), 0);
        assert_int_equal(f->attached.bytes_in, 5);
        assert_int_equal(f->attached.bytes_out, 9);
        (void) close(fd);
}

/* The container ends, its log whole, before who looks on has looked at anything; it gets all of it nevertheless. */
static void test_stopped_attached(void **userdata) {
        _cleanup_free_ char *log = NULL;
        Fixture *f = *userdata;
        int fd, status;
        size_t len;
        pid_t pid;

        make(f, "", "read x; seq 1 200000; exit 6", "", (MonitorOptions){ .has_stdin = true });
        fd = connect_to(f);
        assert_int_equal(send(fd, "\n", 1, 0), 1);
        assert_int_equal(loop_run(f->loop), 0);
        assert_int_equal(f->end.code, 6);
        log = read_log(f, &len);
        assert_int_equal(len, 1288895);
        monitor_disconnect(&f->monitor);
        assert_int_equal(attach_count(f->monitor.attach), 1);

        pid = fork();
        if (pid == 0) {
                char packet[ATTACH_PACKET_MAX + 1];
                size_t at = 0;

                for (ssize_t n; at < len && (n = recv(fd, packet, sizeof(packet), 0)) > 0; at += (size_t) n - 1)
                        if (memcmp(packet + 1, log + at, (size_t) n - 1) != 0)
                                _exit(1);
                _exit(at == len ? 0 : 2);
        }
        monitor_serve_last(&f->monitor);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(recv(fd, &status, sizeof(status), 0), 0);
        assert_false(f->attached.stalled);
        assert_int_equal(f->attached.bytes_out, len);
        (void) close(fd);
}

/* Who has taken nothing when there is no more room gets no more. */
static void test_stuck_attached(void **userdata) {
        _cleanup_free_ char *log = NULL;
        Fixture *f = *userdata;
        size_t len;
        int fd;

        make(f, "", "read x; seq -f %099.0f 1 120000; exit 6", "", (MonitorOptions){ .has_stdin = true });
        fd = connect_to(f);
        assert_int_equal(send(fd, "\n", 1, 0), 1);
        assert_int_equal(loop_run(f->loop), 0);
        assert_int_equal(f->end.code, 6);
        log = read_log(f, &len);
        assert_int_equal(len, 12000000);
        monitor_disconnect(&f->monitor);
        assert_true(f->attached.stalled);
        assert_int_equal(f->attached.bytes_out + f->attached.bytes_dropped, len);
        (void) close(fd);
}

static void test_control(void **userdata) {
        Fixture *f = *userdata;
        char path[128];
        struct stat st;
        int fd;

        make(f, "", "echo one; read x; echo two", "", (MonitorOptions){ .has_stdin = true });
        while (!f->created || f->monitor.pump.streams[LOGS_STDOUT].reads == 0)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        (void) snprintf(path, sizeof(path), "%s.old", strchr(f->log, '/'));
        assert_int_equal(rename(strchr(f->log, '/'), path), 0);

        (void) snprintf(path, sizeof(path), "%.60s/ctl", f->dir);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, "rubbish\n1 24 80\n2 0 0\n", 22), 22);
        while (stat(strchr(f->log, '/'), &st) < 0)
                assert_int_equal(loop_turn(f->loop, 1000), 0);
        assert_int_equal(f->monitor.fifos.n_bad, 1);
        assert_int_equal(f->monitor.height, 24);
        assert_int_equal(f->monitor.width, 80);
        (void) close(fd);

        fd = connect_to(f);
        (void) close(fd);
        assert_int_equal(loop_run(f->loop), 0);
        assert_int_equal(stat(strchr(f->log, '/'), &st), 0);
        assert_int_equal(st.st_size, 45 + 4);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
                cmocka_unit_test_setup_teardown(test_silent_failure, setup, teardown),
                cmocka_unit_test_setup_teardown(test_talkative_runtime, setup, teardown),
                cmocka_unit_test_setup_teardown(test_talkative_runtime_succeeds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_pid_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exec_status, setup, teardown),
                cmocka_unit_test_setup_teardown(test_everything_arrives, setup, teardown),
                cmocka_unit_test_setup_teardown(test_heirs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unknown_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_forward, setup, teardown),
                cmocka_unit_test_setup_teardown(test_attached, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pipe_size, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stopped_attached, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stuck_attached, setup, teardown),
                cmocka_unit_test_setup_teardown(test_control, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
