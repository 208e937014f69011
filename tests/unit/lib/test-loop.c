#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "clk.h"
#include "loop.h"

/* An owner with a source that is always ready, on the heap, so that the sanitizer sees a use after free. */
typedef struct Owner {
        LoopSource source;
        int fd;
        unsigned n_calls;
} Owner;

static Loop *loop;
static Owner *owners[2 * LOOP_EVENTS_MAX];
static unsigned n_calls;

static int setup(void **state) {
        (void) state;

        n_calls = 0;
        memset(owners, 0, sizeof(owners));
        return loop_new(&loop);
}

static int teardown(void **state) {
        (void) state;

        loop = loop_free(loop);
        return 0;
}

static Owner *owner_new(LoopSourceFn fn) {
        Owner *owner = malloc(sizeof(*owner));

        assert_non_null(owner);
        *owner = (Owner){ .source = LOOP_SOURCE_NULL, .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
        assert_true(owner->fd >= 0);
        assert_int_equal(loop_source_add(&owner->source, loop, owner->fd, EPOLLIN, fn), 0);
        return owner;
}

static void owner_free(Owner *owner) {
        if (!owner)
                return;

        loop_source_remove(&owner->source);
        close_fd(owner->fd);
        free(owner);
}

static int on_count(LoopSource *source, uint32_t events) {
        assert_int_equal(events, EPOLLIN);
        container_of(source, Owner, source)->n_calls++;
        n_calls++;
        return 0;
}

static int on_remove_all(LoopSource *source, uint32_t events) {
        (void) source;
        (void) events;

        n_calls++;
        for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
                owner_free(owners[i]);
                owners[i] = NULL;
        }
        return 0;
}

static void test_source(void **state) {
        Owner *owner;

        (void) state;

        owner = owner_new(on_count);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(owner->n_calls, 1);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(owner->n_calls, 2);

        assert_int_equal(loop_source_set(&owner->source, 0), 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(owner->n_calls, 2);
        assert_int_equal(loop_source_set(&owner->source, EPOLLIN), 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(owner->n_calls, 3);

        loop_source_remove(&owner->source);
        loop_source_remove(&owner->source);
        assert_null(owner->source.loop);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(owner->n_calls, 3);

        assert_int_equal(loop_source_add(&owner->source, loop, -1, EPOLLIN, on_count), -EBADF);
        assert_null(owner->source.loop);
        owner_free(owner);
}

/* The first handler frees all owners, its own included: no other may be called, nor touched. */
/* A descriptor that was closed too early stays in the set if it has a duplicate, with a source that is gone. */
static void test_closed_too_early(void **state) {
        struct rlimit none = {};
        int status, fds[2];
        pid_t pid;

        (void) state;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                LoopSource source = LOOP_SOURCE_NULL;

                (void) setrlimit(RLIMIT_CORE, &none);
                (void) signal(SIGABRT, SIG_DFL);
                (void) close(STDERR_FILENO);
                if (dup(fds[0]) < 0 || loop_source_add(&source, loop, fds[0], EPOLLIN, on_count) < 0)
                        _exit(1);
                (void) close(fds[0]);
                loop_source_remove(&source);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

static void test_remove_in_turn(void **state) {
        (void) state;

        for (size_t i = 0; i < 8; i++)
                owners[i] = owner_new(on_remove_all);

        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(n_calls, 1);
        assert_null(owners[0]);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(n_calls, 1);
}

static int on_readd(LoopSource *source, uint32_t events) {
        (void) source;
        (void) events;

        n_calls++;
        for (size_t i = 0; i < 2; i++) {
                loop_source_remove(&owners[i]->source);
                assert_int_equal(loop_source_add(&owners[i]->source, loop, owners[i]->fd, EPOLLIN, on_count), 0);
        }
        return 0;
}

/* Added again within the turn, a source waits for the next. */
static void test_readd_in_turn(void **state) {
        (void) state;

        owners[0] = owner_new(on_readd);
        owners[1] = owner_new(on_readd);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(n_calls, 1);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(n_calls, 3);
        owner_free(owners[0]);
        owner_free(owners[1]);
}

static void test_bounded(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
                owners[i] = owner_new(on_count);

        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(n_calls, LOOP_EVENTS_MAX);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(n_calls, 2 * LOOP_EVENTS_MAX);

        /* Nobody starves. */
        for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
                assert_int_equal(owners[i]->n_calls, 1);
                owner_free(owners[i]);
        }
}

static int on_fail(LoopSource *source, uint32_t events) {
        (void) source;
        (void) events;

        n_calls++;
        return -ENOLINK;
}

static void test_error(void **state) {
        Owner *a, *b;

        (void) state;

        a = owner_new(on_fail);
        b = owner_new(on_fail);
        assert_int_equal(loop_run(loop), -ENOLINK);
        assert_int_equal(n_calls, 1);
        /* The one that was skipped is no longer in the snapshot. */
        owner_free(a);
        owner_free(b);
        assert_int_equal(loop_turn(loop, 0), 0);
}

static int on_exit_7(LoopSource *source, uint32_t events) {
        (void) events;

        loop_exit(source->loop, 7);
        return 0;
}

static void test_exit(void **state) {
        Owner *owner;

        (void) state;

        owner = owner_new(on_exit_7);
        assert_int_equal(loop_run(loop), 7);
        owner_free(owner);
}

typedef struct Alarm {
        LoopTimer timer;
        unsigned n;
} Alarm;

static int on_alarm(LoopTimer *timer) {
        Alarm *alarm_ = container_of(timer, Alarm, timer);

        if (++alarm_->n == 3)
                loop_exit(timer->source.loop, 3);
        return 0;
}

static void test_timer(void **state) {
        Alarm a = { .timer = LOOP_TIMER_NULL };
        uint64_t begin_ns;

        (void) state;

        loop_timer_remove(&a.timer);
        assert_int_equal(loop_timer_stop(&a.timer), 0);
        assert_int_equal(loop_timer_add(&a.timer, loop, on_alarm), 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(a.n, 0);

        begin_ns = clk_monotonic();
        assert_int_equal(loop_timer_set(&a.timer, 5 * NSEC_PER_MSEC, 2 * NSEC_PER_MSEC), 0);
        assert_int_equal(loop_run(loop), 3);
        assert_int_equal(a.n, 3);
        assert_true(clk_monotonic() - begin_ns >= 5 * NSEC_PER_MSEC);

        /* At once, once. */
        assert_int_equal(loop_timer_set(&a.timer, 0, 0), 0);
        assert_int_equal(loop_turn(loop, 10000), 0);
        assert_int_equal(a.n, 4);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(a.n, 4);

        assert_int_equal(loop_timer_set(&a.timer, 1, 0), 0);
        assert_int_equal(loop_timer_stop(&a.timer), 0);
        assert_int_equal(loop_turn(loop, 5), 0);
        assert_int_equal(a.n, 4);

        loop_timer_remove(&a.timer);
        assert_int_equal(a.timer.fd, -EBADF);
}

typedef struct Signal {
        LoopSignal signal_source;
        uint32_t signo;
        uint32_t pid;
} Signal;

static int on_signal(LoopSignal *signal_source, const struct signalfd_siginfo *info) {
        Signal *self = container_of(signal_source, Signal, signal_source);

        self->signo = info->ssi_signo;
        self->pid = info->ssi_pid;
        return 0;
}

static void test_signal(void **state) {
        Signal self = { .signal_source = LOOP_SIGNAL_NULL };
        sigset_t set;

        (void) state;

        loop_signal_remove(&self.signal_source);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGUSR1);
        assert_int_equal(loop_signal_add(&self.signal_source, loop, &set, on_signal), 0);

        /* Unblocked, it would end the test. */
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        assert_int_equal(loop_turn(loop, 10000), 0);
        assert_int_equal(self.signo, SIGUSR1);
        assert_int_equal(self.pid, getpid());

        loop_signal_remove(&self.signal_source);
        assert_int_equal(self.signal_source.fd, -EBADF);
}

static void test_pidfd(void **state) {
        LoopSource source = LOOP_SOURCE_NULL;
        int fds[2], pidfd = -EBADF, status;
        Owner *owner;
        pid_t pid;

        (void) state;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                char c;

                (void) close(fds[1]);
                _exit(read(fds[0], &c, 1) == 0 ? 5 : 1);
        }
        (void) close(fds[0]);

        assert_int_equal(loop_pidfd_add(&source, loop, pid, on_exit_7, &pidfd), 0);
        assert_true(pidfd >= 0);
        owner = owner_new(on_count);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_int_equal(owner->n_calls, 1);
        owner_free(owner);

        (void) close(fds[1]);
        assert_int_equal(loop_run(loop), 7);
        assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
        assert_int_equal(WEXITSTATUS(status), 5);
        loop_source_remove(&source);
        close_fd(pidfd);

        pidfd = -EBADF;
        assert_int_equal(loop_pidfd_add(&source, loop, pid, on_exit_7, &pidfd), -ESRCH);
        assert_int_equal(pidfd, -EBADF);
}

static char trace[32];
static LoopDefer defers[3];

static int on_defer(LoopDefer *defer) {
        char name[] = { (char) ('a' + (defer - defers)), '\0' };

        strcat(trace, name);
        return 0;
}

static int on_defer_again(LoopDefer *defer) {
        strcat(trace, "+");
        loop_defer(defer, loop, on_defer_again);
        return 0;
}

static int on_defer_cancel(LoopDefer *defer) {
        (void) defer;

        strcat(trace, "-");
        loop_defer_cancel(&defers[1]);
        return 0;
}

static int on_defer_fail(LoopDefer *defer) {
        (void) defer;

        strcat(trace, "!");
        loop_defer(&defers[2], loop, on_defer);
        return -EPROTO;
}

static int on_source_defer(LoopSource *source, uint32_t events) {
        (void) events;

        strcat(trace, "s");
        loop_defer(&defers[0], source->loop, on_defer);
        loop_defer(&defers[0], source->loop, on_defer);
        return 0;
}

static void test_defer(void **state) {
        Owner *owner;

        (void) state;
        memset(defers, 0, sizeof(defers));
        trace[0] = '\0';

        /* After the sources of the turn, once. */
        owner = owner_new(on_source_defer);
        owners[0] = owner_new(on_count);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "sa");
        assert_int_equal(n_calls, 1);
        owner_free(owner);
        owner_free(owners[0]);

        /* In order; the wait does not happen. */
        trace[0] = '\0';
        loop_defer(&defers[2], loop, on_defer);
        loop_defer(&defers[0], loop, on_defer);
        loop_defer(&defers[1], loop, on_defer);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "cab");

        /* Queued from within: the next turn, which does not wait either. */
        trace[0] = '\0';
        loop_defer(&defers[0], loop, on_defer_again);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "+");
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "++");
        loop_defer_cancel(&defers[0]);
        loop_defer_cancel(&defers[0]);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(trace, "++");

        /* Cancelled while it waits for its turn in the same run, and as the last of the queue. */
        trace[0] = '\0';
        loop_defer(&defers[0], loop, on_defer_cancel);
        loop_defer(&defers[1], loop, on_defer);
        loop_defer(&defers[2], loop, on_defer);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "-c");
        loop_defer(&defers[0], loop, on_defer);
        loop_defer(&defers[1], loop, on_defer);
        loop_defer_cancel(&defers[1]);
        loop_defer(&defers[2], loop, on_defer);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "-cac");

        /* An error ends the turn; the rest keeps its place. */
        trace[0] = '\0';
        loop_defer(&defers[0], loop, on_defer_fail);
        loop_defer(&defers[1], loop, on_defer);
        assert_int_equal(loop_turn(loop, -1), -EPROTO);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "!bc");
        loop_defer(&defers[0], loop, on_defer);
        assert_int_equal(loop_turn(loop, -1), 0);
        assert_string_equal(trace, "!bca");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_source, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closed_too_early, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remove_in_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_readd_in_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_error, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pidfd, setup, teardown),
                cmocka_unit_test_setup_teardown(test_defer, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
