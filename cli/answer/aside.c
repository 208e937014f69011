#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "aside.h"
#include "clk.h"

/* Collects those that have ended meanwhile. */
static void collect(Asides *asides) {
        size_t n = 0;

        for (size_t i = 0; i < asides->n_left; i++)
                if (waitpid(asides->left[i], NULL, WNOHANG) == 0)
                        asides->left[n++] = asides->left[i];
        asides->n_left = n;
}

static void run_child(int out, void (*fn)(int out, void *userdata), void *userdata) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int fd = 0; fd < 3; fd++)
                if (fd != out && (null < 0 || dup2(null, fd) < 0))
                        (void) close(fd);
        (void) signal(SIGPIPE, SIG_DFL);
        fn(out, userdata);
        _exit(0);
}

int aside_start(Asides *asides, void (*fn)(int out, void *userdata), void *userdata, Aside *ret) {
        int fds[2];
        pid_t pid;

        collect(asides);
        if (asides->n_left >= ASIDE_LEFT_MAX || asides->lost_ns >= ASIDE_LOST_NS)
                return -EBUSY;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid < 0) {
                int r = -errno;

                close_fd(fds[0]);
                close_fd(fds[1]);
                return r;
        }
        if (pid == 0) {
                close_fd(fds[0]);
                run_child(fds[1], fn, userdata);
        }
        close_fd(fds[1]);
        *ret = (Aside){ .asides = asides, .pid = pid, .fd = fds[0] };
        return 0;
}

/* Does the child wait for a CPU, so that it is the machine that is slow? */
static bool is_ready(pid_t pid) {
        char path[32], text[512];
        const char *end;
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return false;
        text[n] = '\0';
        end = strrchr(text, ')');
        return end && strncmp(end, ") R", 3) == 0;
}

/* At least one byte, at most @size. */
static ssize_t read_some(Aside *aside, void *buf, size_t size) {
        uint64_t begin = clk_monotonic(), limit = ASIDE_ANSWER_NS, spent;
        struct pollfd poll_fd = { .fd = aside->fd, .events = POLLIN };
        ssize_t n;
        int r;

        while ((r = poll(&poll_fd, 1, (int) (ASIDE_ANSWER_NS / NSEC_PER_MSEC))) <= 0) {
                if (r < 0 && errno != EINTR)
                        return -errno;
                spent = clk_monotonic() - begin;
                if (spent < limit)
                        continue;
                if (spent < ASIDE_SLOW_NS && is_ready(aside->pid)) {
                        limit = spent + ASIDE_ANSWER_NS;
                        continue;
                }
                aside->asides->lost_ns += spent;
                return -ETIMEDOUT;
        }
        do
                n = read(aside->fd, buf, size);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

int aside_read(Aside *aside, void *buf, size_t size) {
        uint8_t *p = buf;

        while (size > 0) {
                ssize_t n = read_some(aside, p, size);

                if (n <= 0)
                        return n < 0 ? (int) n : -EPIPE;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

void aside_end(Aside *aside) {
        if (aside->fd < 0)
                return;
        aside->fd = close_fd(aside->fd);
        (void) kill(aside->pid, SIGKILL);
        /* The kernel may take a moment, or for ever. */
        if (waitpid(aside->pid, NULL, WNOHANG) == 0)
                aside->asides->left[aside->asides->n_left++] = aside->pid;
}

ssize_t aside_ask(Asides *asides, void (*fn)(int out, void *userdata), void *userdata, void *buf, size_t size) {
        Aside aside = ASIDE_NULL;
        uint8_t *p = buf;
        size_t n = 0;
        int r;

        r = aside_start(asides, fn, userdata, &aside);
        if (r < 0)
                return r;
        while (n < size) {
                ssize_t some = read_some(&aside, p + n, size - n);

                if (some < 0) {
                        aside_end(&aside);
                        return some;
                }
                if (some == 0)
                        break;
                n += (size_t) some;
        }
        aside_end(&aside);
        return (ssize_t) n;
}
