#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "../child.h"
#include "confine.h"
#include "util.h"

static const char *const nothing_left[] = {
        "\nCapInh:\t0000000000000000\n",
        "\nCapPrm:\t0000000000000000\n",
        "\nCapEff:\t0000000000000000\n",
        "\nCapAmb:\t0000000000000000\n",
        "\nNoNewPrivs:\t1\n",
        "\nSeccomp:\t2\n",
};

static int child_refused(void) {
        char status[8192];
        ssize_t n;
        int fd;

        if (confine(-1, false) < 0)
                return 10;

        fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        n = read(fd, status, sizeof(status) - 1);
        if (n <= 0)
                return 11;
        status[n] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(nothing_left); i++)
                if (!strstr(status, nothing_left[i]))
                        return 12;

        if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM)
                return 13;
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM)
                return 14;
        if (socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EPERM)
                return 15;
        if (fork() != -1 || errno != EPERM)
                return 16;
        if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED || errno != EPERM)
                return 17;
        if (chroot("/") != -1 || setuid(65534) != -1 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != -1)
                return 18;
        return 0;
}

/* What podspan-cri lives from, of which a filter that kills must not kill anything. */
static int child_allowed(void) {
        void *p;

        if (confine(-1, true) < 0)
                return 20;
        p = malloc(1 << 20);
        if (!p)
                return 21;
        free(p);
        if (close_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) != -EBADF ||
            close_fd(epoll_create1(EPOLL_CLOEXEC)) != -EBADF)
                return 22;
        p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || munmap(p, 4096) < 0)
                return 23;
        return 0;
}

static int child_killed(void) {
        if (confine(-1, true) < 0)
                return 30;
        (void) execl("/bin/true", "true", NULL);
        return 31;
}

static void refused(void **state) {
        (void) state;
        assert_int_equal(child_run(child_refused), 0);
}

static void allowed(void **state) {
        (void) state;
        assert_int_equal(child_run(child_allowed), 0);
}

static void killed(void **state) {
        int status = child_run(child_killed);

        (void) state;
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* The group of the state directory becomes one of ours, as without CAP_DAC_OVERRIDE nothing else lets us write there.
 */
static int joins_fd;

static int child_joins(void) {
        if (confine(joins_fd, false) < 0)
                return 40;
        if (mkdirat(joins_fd, "x", 0700) < 0)
                return 41;
        return unlinkat(joins_fd, "x", AT_REMOVEDIR) < 0 ? 42 : 0;
}

static void joins(void **state) {
        char path[] = "/tmp/test-confine-XXXXXX";

        (void) state;
        if (geteuid() != 0)
                skip();
        assert_non_null(mkdtemp(path));
        joins_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(fchown(joins_fd, 65533, 65533), 0);
        assert_int_equal(fchmod(joins_fd, 0770), 0);
        assert_int_equal(child_run(child_joins), 0);
        joins_fd = close_fd(joins_fd);
        assert_int_equal(rmdir(path), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(refused),
                cmocka_unit_test(allowed),
                cmocka_unit_test(killed),
                cmocka_unit_test(joins),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
