#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>
#include "fixture.h"
#include "logrotate.h"

static LogRotate rotate;

static int opened(const Fixture *fixture, uint64_t max_files) {
        uint64_t size;
        LogRotateKind kind;
        int fd;

        assert_int_equal(logrotate_init(&rotate, fixture->path, NULL, 0, max_files), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_int_equal(kind, LOGROTATE_FILE);
        return fd;
}

static void assert_holds(const Fixture *fixture, const char *suffix, const char *text) {
        size_t size;
        _cleanup_free_ char *content = fixture_read(fixture_name(fixture, suffix), &size);

        assert_string_equal(content, text);
}

static void keeps_what_it_may(void **state) {
        const Fixture *fixture = *state;
        int fd = opened(fixture, 3), next;

        for (char i = 'a'; i <= 'f'; i++) {
                assert_int_equal(write(fd, &i, 1), 1);
                assert_int_equal(logrotate_shift(&rotate, fd, &next), 0);
                close(fd);
                fd = next;
        }
        assert_holds(fixture, "", "");
        assert_holds(fixture, ".1", "f");
        assert_holds(fixture, ".2", "e");
        assert_holds(fixture, ".3", "d");
        assert_false(fixture_exists(fixture, ".4"));
        assert_false(fixture_exists(fixture, ".new"));
        close(fd);
        logrotate_deinit(&rotate);
}

static void one_file_is_one(void **state) {
        const Fixture *fixture = *state;
        int fd = opened(fixture, 1), next;
        struct stat st;

        for (char i = 'a'; i <= 'c'; i++) {
                assert_int_equal(write(fd, &i, 1), 1);
                assert_int_equal(logrotate_shift(&rotate, fd, &next), 0);
                close(fd);
                fd = next;
        }
        assert_holds(fixture, ".1", "c");
        assert_false(fixture_exists(fixture, ".2"));
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 0777, LOGROTATE_MODE);
        close(fd);
        logrotate_deinit(&rotate);
}

static void replaces_by_renaming(void **state) {
        const Fixture *fixture = *state;
        int fd = opened(fixture, 0), next;

        assert_true(logrotate_in_place(&rotate, fd));
        assert_int_equal(rename(fixture->path, fixture_name(fixture, ".old")), 0);
        assert_false(logrotate_in_place(&rotate, fd));
        assert_int_equal(logrotate_replace(&rotate, &next), 0);
        assert_true(logrotate_in_place(&rotate, next));
        assert_false(logrotate_in_place(&rotate, fd));
        assert_false(fixture_exists(fixture, ".tmp"));
        assert_int_equal(write(fd, "old", 3), 3);
        assert_int_equal(write(next, "new", 3), 3);
        assert_holds(fixture, ".old", "old");
        assert_holds(fixture, "", "new");
        close(fd);
        close(next);
        logrotate_deinit(&rotate);
}

/* A ".new" that an interrupted rotation left does not end all rotation. */
static void goes_on_after_an_interruption(void **state) {
        const Fixture *fixture = *state;
        int fd = opened(fixture, 2), next, stale;

        stale = open(fixture_name(fixture, ".new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
        assert_true(stale >= 0);
        close(stale);
        assert_int_equal(write(fd, "a", 1), 1);
        assert_int_equal(logrotate_shift(&rotate, fd, &next), 0);
        assert_holds(fixture, ".1", "a");
        assert_false(fixture_exists(fixture, ".new"));
        close(fd);
        close(next);
        logrotate_deinit(&rotate);
}

static void assert_refused(int fd, int error) {
        int next = -1;

        assert_int_equal(logrotate_shift(&rotate, fd, &next), error);
        assert_int_equal(next, -1);
        close(fd);
        logrotate_deinit(&rotate);
}

static void refuses(void **state) {
        Fixture *fixture = *state;
        const char *elsewhere[] = { "/usr", "/nonexistent", "" }, *here[] = { "/usr", fixture->dir };
        char path[128], outside[64];
        uint64_t size;
        LogRotateKind kind;
        int fd, next;

        /* not ours any more */
        fd = opened(fixture, 1);
        assert_int_equal(rename(fixture->path, fixture_name(fixture, ".old")), 0);
        close(open(fixture->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640));
        assert_refused(fd, -ESTALE);

        /* a symlink */
        assert_int_equal(unlink(fixture->path), 0);
        assert_int_equal(symlink("log.old", fixture->path), 0);
        assert_refused(opened(fixture, 1), -ELOOP);
        assert_int_equal(unlink(fixture->path), 0);

        /* ".." */
        (void) snprintf(path, sizeof(path), "%s/../%s/log", fixture->dir, fixture->dir + strlen("/tmp/"));
        assert_int_equal(logrotate_init(&rotate, path, NULL, 0, 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_refused(fd, -EINVAL);

        /* a directory of everybody */
        assert_int_equal(chmod(fixture->dir, 0777), 0);
        assert_refused(opened(fixture, 1), -EPERM);
        assert_int_equal(chmod(fixture->dir, 0700), 0);

        /* the allowlist: not here; a directory that only begins with the same name; here */
        assert_int_equal(logrotate_init(&rotate, fixture->path, elsewhere, ARRAY_SIZE(elsewhere), 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_refused(fd, -EXDEV);
        (void) snprintf(outside, sizeof(outside), "%.*s", (int) strlen(fixture->dir) - 1, fixture->dir);
        assert_int_equal(mkdir(outside, 0700), 0);
        assert_int_equal(logrotate_init(&rotate, fixture->path, (const char *[]){ outside }, 1, 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_refused(fd, -EXDEV);
        assert_int_equal(rmdir(outside), 0);
        assert_int_equal(logrotate_init(&rotate, fixture->path, here, ARRAY_SIZE(here), 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_int_equal(logrotate_shift(&rotate, fd, &next), 0);
        close(next);
        close(fd);
        logrotate_deinit(&rotate);
}

/* A lock of another process. */
static void refuses_what_is_locked(void **state) {
        const Fixture *fixture = *state;
        int fd = opened(fixture, 1), ready[2], done[2], next, status;
        char byte = 'x';
        pid_t pid;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        assert_int_equal(pipe2(done, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

                close(done[1]);
                _exit(fcntl(fd, F_SETLK, &lock) < 0 || write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        status = logrotate_shift(&rotate, fd, &next);
        assert_true(status == -EAGAIN || status == -EACCES);
        close(done[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(logrotate_shift(&rotate, fd, &next), 0);
        close(next);
        close(fd);
        for (int i = 0; i < 2; i++)
                close(ready[i]);
        close(done[0]);
        logrotate_deinit(&rotate);
}

static void opens_what_is_no_file(void **state) {
        const Fixture *fixture = *state;
        uint64_t size;
        LogRotateKind kind;
        int fd;

        assert_int_equal(logrotate_init(&rotate, "/dev/full", NULL, 0, 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_int_equal(kind, LOGROTATE_DEVICE);
        close(fd);
        logrotate_deinit(&rotate);

        assert_int_equal(mkfifo(fixture->path, 0600), 0); /* without a reader */
        assert_int_equal(logrotate_init(&rotate, fixture->path, NULL, 0, 1), 0);
        assert_int_equal(logrotate_open(&rotate, &fd, &size, &kind), 0);
        assert_int_equal(kind, LOGROTATE_FIFO);
        close(fd);
        logrotate_deinit(&rotate);

        assert_int_equal(logrotate_init(&rotate, "/nonexistent/log", NULL, 0, 1), -ENOENT);
        logrotate_deinit(&rotate);
        assert_int_equal(logrotate_init(&rotate, "/tmp/", NULL, 0, 1), -EISDIR);
        logrotate_deinit(&rotate);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(keeps_what_it_may, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(one_file_is_one, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(replaces_by_renaming, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(goes_on_after_an_interruption, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(refuses, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(refuses_what_is_locked, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(opens_what_is_no_file, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
