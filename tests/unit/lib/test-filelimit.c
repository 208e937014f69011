#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "../child.h"
#include "filelimit.h"
#include "util.h"

/* Writes to a file that may not grow. Returns the errno, 0 without one. */
static int write_beyond(void) {
        static const struct rlimit limit = { 0, 0 };
        _cleanup_close_ int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        if (fd < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
                return EXIT_FAILURE;
        return -util_write_all(fd, "x", 1);
}

static int without(void) {
        (void) signal(SIGXFSZ, SIG_DFL);
        return write_beyond();
}

static int ignoring(void) {
        (void) signal(SIGXFSZ, SIG_DFL);
        filelimit_ignore();
        filelimit_ignore();
        return filelimit_was_default() ? write_beyond() : EXIT_FAILURE;
}

static int restored(void) {
        (void) signal(SIGXFSZ, SIG_DFL);
        filelimit_ignore();
        filelimit_ignore();
        filelimit_restore();
        return write_beyond();
}

static int never_ignored(void) {
        (void) signal(SIGXFSZ, SIG_DFL);
        filelimit_restore();
        return filelimit_was_default() ? EXIT_FAILURE : write_beyond();
}

static int ignored_before(void) {
        (void) signal(SIGXFSZ, SIG_IGN);
        filelimit_ignore();
        if (filelimit_was_default())
                return EXIT_FAILURE;
        filelimit_restore();
        return write_beyond();
}

static void ignores(void **state) {
        int status;

        (void) state;
        status = child_run(without);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        status = child_run(ignoring);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EFBIG);
}

static void restores(void **state) {
        int status;

        (void) state;
        status = child_run(restored);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        status = child_run(never_ignored);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        status = child_run(ignored_before);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EFBIG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ignores),
                cmocka_unit_test(restores),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
